"""Types of settings that come as texts: lists at commas, peers, addresses of the API, rules of the policy."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode

from peat_sidecar.classes import TransferClass
from peat_sidecar.config.addresses import ApiAddress
from peat_sidecar.errors import ConfigError


def _split(value: object) -> object:
    """A text at its commas; what comes as a list stays one."""
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(",")) if part)
    return value


def _split_peers(value: object) -> object:
    """As `_split`, but `ID@host:port,host:port` is one peer with two addresses."""
    parts = _split(value)
    if not isinstance(value, str) or not isinstance(parts, tuple):
        return parts
    peers: list[str] = []
    for part in parts:
        if peers and "@" in peers[-1] and "@" not in part and ":" in part:
            peers[-1] += f",{part}"
        else:
            peers.append(part)
    return tuple(peers)


def _parse_api(value: object) -> object:
    try:
        return ApiAddress.parse(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _split_lines(value: object) -> object:
    """A text at its semicolons; commas belong to what is between them."""
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(";")) if part)
    return value


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
PeerTexts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_peers)]
Lines = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_lines)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split)]
Apis = Annotated[
    tuple[Annotated[ApiAddress, BeforeValidator(_parse_api)], ...], NoDecode, BeforeValidator(_split)
]


class ReplicateRule(BaseModel):
    """One rule of the policy: which packages of the formation are wanted here."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    reference: str = Field(min_length=1)
    """A pattern for references as shells have them: `registry.example/team/*`, `*:v2`."""
    platforms: Texts = ()
    """As `linux/amd64` or `amd64`; none: those of this node."""
    transfer_class: TransferClass = Field(default=TransferClass.NORMAL, alias="class")
    carry: bool = False
    """For others: any platform, unless some are listed."""
    export: str = ""
    """Where what has arrived is written to: `host[:port]`, or `host[:port]/prefix`."""
    referrers: bool = True
    """Signatures, SBOMs and whatever else refers to these packages comes with them."""


def parse_rule(text: str) -> dict[str, object]:
    """`PATTERN[,platform=linux/amd64][,class=high][,carry][,export=host:port][,referrers=no]` as the table of
    a rule.
    """
    pattern, *options = (part.strip() for part in text.split(","))
    rule: dict[str, object] = {"reference": pattern}
    platforms: list[str] = []
    for option in options:
        name, equals, value = option.partition("=")
        if name == "platform" and value:
            platforms.append(value)
        elif name in ("class", "export") and value:
            rule[name] = value
        elif name == "carry" and not equals:
            rule[name] = True
        elif name == "referrers" and value in ("yes", "no"):
            rule[name] = value == "yes"
        else:
            raise ValueError(
                f"{option[:80]!r} is no part of a rule; one looks like"
                " registry.example/team/*,platform=linux/arm64,class=high,carry,export=127.0.0.1:5000"
            )
    return rule | ({"platforms": platforms} if platforms else {})


def _split_rules(value: object) -> object:
    """Rules in a variable: JSON, or texts with semicolons between them."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            return json.loads(value)
        value = [part.strip() for part in value.split(";") if part.strip()]
    if isinstance(value, list | tuple):
        return tuple(parse_rule(each) if isinstance(each, str) else each for each in value)
    return value


Rules = Annotated[tuple[ReplicateRule, ...], NoDecode, BeforeValidator(_split_rules)]
