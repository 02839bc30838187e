"""What an admin edits, on a machine that is in no mesh: a list of members, and the key that signs it.

The list is a JSON file for people as well; each change replaces it whole or not at all. It keeps the sequence
that was signed last, so that a later roster is newer even where the admin's clock went back. The key is PEM
(PKCS 8, as `openssl genpkey -algorithm ed25519` makes it), for its owner only, and is never written over.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from peat_sidecar.errors import ConfigError, NotFound, PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.roster import (
    TEXT_LIMIT_BYTES,
    Entry,
    Roster,
    checked_entries,
    encode_signed,
    parse_entry,
    parse_object,
    parse_signed,
    sign_roster,
)
from peat_sidecar.records import Signer
from peat_sidecar.secret_files import read_secret, write_whole

_APP_ID_LIMIT = 128
_KEY_LIMIT_BYTES = 4096
_SEQUENCE_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True)
class Draft:
    """A roster that is not signed yet."""

    app_id: str
    admin: EndpointId
    sequence: int = 0
    """Of what was signed last; 0: nothing was."""
    members: tuple[tuple[EndpointId, Entry], ...] = ()

    def __post_init__(self) -> None:
        """`ConfigError` where a member is listed twice, or the app id is none."""
        if not 0 < len(self.app_id) <= _APP_ID_LIMIT or not self.app_id.isprintable():
            raise ConfigError(
                f"an app id has 1 to {_APP_ID_LIMIT} printable characters; use the one of the nodes"
            )
        checked_entries(self.members, self.admin)

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """From the file's text; `ConfigError` says what is wrong in it."""
        document = parse_object(text, "roster")
        if "signature" in document:
            raise ConfigError("that is a signed roster, which cannot be changed; name the list it is of")
        unknown = sorted(set(document) - {"app_id", "admin", "sequence", "members"})
        if unknown:
            raise ConfigError(f"a roster has no part {unknown[0][:80]!r}; take it out")
        app_id, members = document.get("app_id"), document.get("members")
        sequence = document.get("sequence", 0)
        if not isinstance(app_id, str) or not isinstance(members, list):
            raise ConfigError("the roster needs app_id and members; `peat-sidecar roster init` makes one")
        if type(sequence) is not int or not 0 <= sequence < _SEQUENCE_LIMIT:
            raise ConfigError("the sequence is no number from 0 to 2^63; take the newest copy of the list")
        admin = EndpointId.parse(str(document.get("admin", "")))
        return cls(app_id, admin, sequence, tuple(_parse_member(each) for each in members))

    @property
    def text(self) -> str:
        """What `parse` takes."""
        document = {
            "app_id": self.app_id,
            "admin": str(self.admin),
            "sequence": self.sequence,
            "members": [
                {"id": str(id), "agent_id": entry.agent_id, "role": entry.role.value}
                for id, entry in self.members
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def add(self, id: EndpointId, entry: Entry) -> Self:
        """`ConfigError` when the id or the agent id is listed already."""
        return replace(self, members=(*self.members, (id, entry)))

    def remove(self, id: EndpointId) -> Self:
        """`NotFound` when it is not listed."""
        members = tuple(member for member in self.members if member[0] != id)
        if len(members) == len(self.members):
            raise NotFound(f"{id} is not in the roster; `peat-sidecar roster show` lists who is")
        return replace(self, members=members)

    def sign(self, key: Signer, now: float) -> tuple[Self, Roster]:
        """The roster, and the draft that remembers its sequence. `now` in Unix seconds."""
        if key.id != self.admin:
            raise ConfigError(
                f"the key is that of {key.id}, and the roster's admin is {self.admin};"
                " name the key that the roster was made with"
            )
        clock = int(now * 1000) << 16
        sequence = max(self.sequence + 1, clock)
        roster = sign_roster(key, self.app_id, self.members, sequence=sequence, clock=clock)
        return replace(self, sequence=sequence), roster

    @property
    def entries(self) -> dict[EndpointId, Entry]:
        """In order of their agent ids, as a signed roster has them."""
        return checked_entries(self.members, self.admin)

    def is_signed_as(self, roster: Roster) -> bool:
        """Whether that roster says what this one does."""
        return (self.app_id, self.admin, self.entries) == (roster.app_id, roster.admin, roster.entries)


def signed_path(draft: Path) -> Path:
    """Where the signed form of a roster goes: `fleet.signed.json` beside `fleet.json`."""
    return draft.with_name(f"{draft.stem}.signed{draft.suffix or '.json'}")


def init_draft(path: Path, key_path: Path, app_id: str) -> tuple[Draft, bool]:
    """Makes an empty roster, and its key unless there is one; whether it made the key."""
    if path.exists():
        raise ConfigError(f"{path} exists; name another file, or move it away")
    draft = Draft(app_id, EndpointId(bytes(32)))  # what is wrong is known before a key is made
    made = _create_key(key_path)
    try:
        draft = replace(draft, admin=load_key(key_path).id)
        write_draft(path, draft)
    except ConfigError:
        if made:  # nothing was signed with it
            key_path.unlink(missing_ok=True)
        raise
    return draft, made


def read_draft(path: Path) -> Draft:
    """`ConfigError` with the file's name for what cannot be read or is wrong."""
    text = read_text(path)
    try:
        return Draft.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_draft(path: Path, draft: Draft) -> None:
    """Replaces the list, whole or not at all."""
    _write(path, draft.text)


def sign_draft(path: Path, key_path: Path, now: float) -> tuple[Path, Roster]:
    """Signs the list in a file: where the signed form was written, and what it says."""
    draft, roster = read_draft(path).sign(load_key(key_path), now)
    write_draft(path, draft)  # first: a sequence is never used twice
    target = signed_path(path)
    _write(target, encode_signed(roster.signed))
    return target, roster


def read_roster(path: Path) -> Draft | Roster:
    """A list, or a signed roster, whoever signed it; `ConfigError` and `IntegrityError` say what is wrong."""
    text = read_text(path)
    try:
        if b'"signature"' not in text:
            return Draft.parse(text)
        signed = parse_signed(text)
        return Roster.parse(signed, signed.record.signer)
    except PeatError as error:
        raise type(error)(f"{path}: {error}") from None


def signed_state(path: Path, draft: Draft) -> str:
    """Whether what is signed is what the list says, in words."""
    target = signed_path(path)
    if not target.exists():
        return "not signed"
    try:
        roster = read_roster(target)
    except PeatError as error:
        return f"not signed ({error})"
    if isinstance(roster, Roster) and draft.is_signed_as(roster):
        return f"signed, in {target}"
    return f"changed since it was signed; {target} is what it was"


def read_text(path: Path) -> bytes:
    """A list or a signed roster; no more than is too long for both."""
    try:
        with path.open("rb") as file:
            return file.read(TEXT_LIMIT_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; `peat-sidecar roster init` makes a roster") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None


def load_key(path: Path) -> Signer:
    """The admin's key. `ConfigError` when it is none, or others than its owner can read it."""
    remedy = f"run: chmod 600 {path}, and make another key if someone may have copied it"
    try:
        text = read_secret(path, "the admin key", remedy, _KEY_LIMIT_BYTES)
    except FileNotFoundError as error:
        raise ConfigError(f"the admin key {path} cannot be read: {error.strerror}") from None
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        raise ConfigError(f"the admin key {path} has a password; name one without") from None
    except Exception as error:  # noqa: BLE001 - UnsupportedAlgorithm and ValueError, and what OpenSSL adds
        raise ConfigError(f"the admin key {path} is no PEM key: {error}; restore it from a copy") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"the admin key {path} is no ed25519 key; name one that `roster init` made")
    return Signer(key.private_bytes_raw())


def _create_key(path: Path) -> bool:
    """Whether it was made; one that is there stays."""
    if path.exists():
        return False
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(path, pem.decode(), mode=0o600)
    return True


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    try:
        write_whole(path, text.encode(), mode=mode)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name a place that can") from None


def _parse_member(value: object) -> tuple[EndpointId, Entry]:
    if not isinstance(value, dict) or set(value) != {"id", "agent_id", "role"}:
        raise ConfigError(f"a member has id, agent_id and role, not {repr(value)[:80]}; mend it")
    return EndpointId.parse(str(value["id"])), parse_entry(value["agent_id"], value["role"])
