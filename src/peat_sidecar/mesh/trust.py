"""Whom this node lets join, and whose documents decide what it does.

Without an admin: whoever has the key may join, and a document of an owned collection counts when its owner
wrote it. With one: only who is on the admin's newest roster joins, and only publishers' documents decide;
until there is a roster, nobody joins. It comes from a file (`load`) or as a record from any peer; either way
only a newer one replaces it, and one that may not is refused and counted.

Thread-safe. Listeners are called in the thread that learnt of the change, which may be a writer of records.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, PeatError, Refused
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.roster import COLLECTION, Entry, Role, Roster, parse_signed
from peat_sidecar.mesh.roster_draft import read_text
from peat_sidecar.records import OWNED, Batch, Document, Records, SignedRecord

_log = structlog.get_logger(__name__)

BAN_WITHOUT_ROSTER = (
    "Without a roster a ban keeps this id out of this node only: whoever is banned still has the formation"
    " key, and can come back under a new id. To keep them out for good change the key, or use a roster."
)
BAN_WITH_ROSTER = (
    "With a roster a ban is final on this node, since a new id could not join. To keep the peer out of the"
    " whole formation, take it out of the roster, and sign and load that."
)

Listener = Callable[[Roster], None]


class Trust:
    """What the roster in force says. Reads the records when it is made; ends with `close`."""

    def __init__(self, records: Records, admin: EndpointId | None, app_id: str) -> None:
        """`admin`: who signs rosters; None: admission is by the key alone."""
        self.admin = admin
        self.refused = 0
        """Rosters that were not taken: older, or not fit for this formation."""
        self.last_refusal = ""
        self._records = records
        self._app_id = app_id
        self._lock = threading.RLock()
        self._roster: Roster | None = None
        self._publishers: dict[str, EndpointId] = {}
        self._listeners: dict[object, Listener] = {}
        self._end = records.on_advanced(self._advanced)
        if admin is not None:
            self._take_from_records()
        if self._roster is None:  # what the records knew of members may be of another configuration
            records.set_members(None if admin is None else {}, also=() if admin is None else (admin,))

    def close(self) -> None:
        """Nothing is listened to any more."""
        self._end()
        with self._lock:
            self._listeners.clear()

    @property
    def roster(self) -> Roster | None:
        """The one in force."""
        return self._roster

    @property
    def waits_for_roster(self) -> bool:
        """Whether nobody may join because no roster is known."""
        return self.admin is not None and self._roster is None

    @property
    def ban_note(self) -> str:
        """What a ban is worth here, in a sentence."""
        return BAN_WITHOUT_ROSTER if self.admin is None else BAN_WITH_ROSTER

    def entry(self, peer: EndpointId) -> Entry | None:
        """What the roster says of a peer; None: nothing."""
        roster = self._roster
        return roster.entries.get(peer) if roster is not None else None

    def may_join(self, peer: EndpointId) -> bool:
        """Whether one that has the key may belong to the formation."""
        return self.admin is None or self.entry(peer) is not None

    def decides(self, document: Document) -> bool:
        """Whether a document may cause something here: its owner wrote it, and with a roster is a publisher.
        In a collection without owners all who wrote it have to be publishers.
        """
        if self.admin is None:
            if document.collection not in OWNED:
                return True
            owner = self._records.owner_of(document.owner)
        elif document.collection not in OWNED:
            return all(self._is_publisher(signer) for signer in document.signers)
        else:
            owner = self._publishers.get(document.owner)
        return owner is not None and all(signer == owner for signer in document.signers)

    def load(self, signed: SignedRecord) -> Roster:
        """Takes a roster in, for this node and, as a record, for the others. The one in force again changes
        nothing. `Refused` when it is older, or no admin is configured; `IntegrityError` and `ConfigError` as
        `Roster.parse` has them.
        """
        try:
            roster = self._parse(signed)
            with self._lock:
                self._refuse_older(roster)
            batch = Batch(roster.admin, 0, roster.sequence, (signed,))
            faults = self._records.merge([batch]).faults
            self._take(self._parse(self._stored()))
            if self._roster is None or self._roster.signed.body != signed.body:
                why = faults[0].detail if faults else "a newer one came at the same time"
                raise Refused(f"the roster was not taken: {why}; look at the status, then load it again")
        except PeatError as error:
            self._refuse(error)
            raise
        return roster

    def load_file(self, path: Path) -> None:
        """The signed roster that the settings name, at start; passed over when a newer one is known.
        `ConfigError` with the file's name for any other reason not to take it.
        """
        try:
            signed = parse_signed(read_text(path))
            current = self._roster
            if current is not None and current.is_newer_than(self._parse(signed)):
                _log.info("a newer roster than the one in the file is known", file=str(path))
                return
            self.load(signed)
        except (ConfigError, IntegrityError, Refused) as error:
            raise ConfigError(f"roster: {path}: {error}") from None

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Called with each roster that comes into force, once the records know its members: peers may have to
        go. Be quick: a writer of records may wait. What it gives ends it.
        """
        key = object()
        with self._lock:
            self._listeners[key] = listener

        def end() -> None:
            with self._lock:
                self._listeners.pop(key, None)

        return end

    def _is_publisher(self, id: EndpointId) -> bool:
        entry = self.entry(id)
        return entry is not None and entry.role is Role.PUBLISHER

    def _advanced(self, signers: frozenset[EndpointId]) -> None:
        if self.admin in signers:
            self._take_from_records()

    def _take_from_records(self) -> None:
        assert self.admin is not None
        try:
            self._take(self._parse(self._stored()))
        except NotFound:
            return
        except PeatError as error:
            self._refuse(error)

    def _stored(self) -> SignedRecord:
        """The admin's record itself and not the merge: it is the admin's word whatever others write into its
        document, and whatever time its clock had.
        """
        assert self.admin is not None
        after = 0
        while (batch := self._records.since(self.admin, after)) is not None and batch.records:
            for signed in batch.records:
                record = signed.record
                if (record.collection, record.doc_id) == (COLLECTION, self._app_id):
                    return signed
            after = batch.upto
        raise NotFound("there is no roster among the records")

    def _parse(self, signed: SignedRecord) -> Roster:
        if self.admin is None:
            raise Refused("no admin is configured here; set roster_admin and admission, then start again")
        roster = Roster.parse(signed, self.admin)
        if roster.app_id != self._app_id:
            raise Refused(
                f"the roster is for the formation {roster.app_id[:128]!r}, and this node is in"
                f" {self._app_id!r}; load the one for this formation, or mend app_id"
            )
        return roster

    def _refuse_older(self, roster: Roster) -> None:
        current = self._roster
        if current is not None and current.is_newer_than(roster):
            raise Refused(
                f"the roster (sequence {roster.sequence}) is older than the one in force"
                f" ({current.sequence}); sign it again to go back to what it says"
            )

    def _take(self, roster: Roster) -> None:
        """Puts it in force, unless a newer one is."""
        with self._lock:
            self._refuse_older(roster)
            if self._roster is not None and self._roster.signed.body == roster.signed.body:
                return
            self._publishers = {
                entry.agent_id: id for id, entry in roster.entries.items() if entry.role is Role.PUBLISHER
            }
            self._roster = roster
            listeners = tuple(self._listeners.values())
        self._tell_records()
        _log.info("a roster is in force", members=len(roster.entries), sequence=roster.sequence)
        for listener in listeners:
            listener(roster)

    def _tell_records(self) -> None:
        """Without the lock, since records that call a listener may hold theirs. Of two that do this at once
        the later one ends with the roster in force.
        """
        told: Roster | None = None
        while (roster := self._roster) is not None and roster is not told:
            members = {id: entry.agent_id for id, entry in roster.entries.items()}
            self._records.set_members(members, also=(roster.admin,))
            told = roster

    def _refuse(self, error: PeatError) -> None:
        with self._lock:
            self.refused += 1
            self.last_refusal = str(error)
        _log.warning("a roster is refused", error=str(error))
