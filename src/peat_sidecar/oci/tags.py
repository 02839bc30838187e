"""Tags that name no package of their own. Pure."""

import re

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest

_OF_REFERRERS = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.[a-z0-9]+)?")


def is_referrers_tag(tag: str) -> bool:
    """Whether it lists referrers of a digest (distribution specification 1.1), or is one of cosign's."""
    return _OF_REFERRERS.fullmatch(tag) is not None


def subject_of_tag(tag: str) -> Digest | None:
    """Which digest such a tag is about; None for other tags, and where the digest was cut to fit."""
    if not is_referrers_tag(tag):
        return None
    try:
        return Digest.parse(tag.partition(".")[0].replace("-", ":", 1))
    except ConfigError:
        return None
