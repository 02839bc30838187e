"""Whose records count: not those of banned signers, with a roster only its members', and in owned collections
only the owner's.

Who owns an agent id: this node its own one, always; else, with a roster, the member it names; else, where the
agent id is an endpoint id, that one; else the first signer whose record claimed it here, until that is
banned. All of this is kept in the database, so that documents agree with it after a restart.
"""

import re
from collections.abc import Collection, Mapping

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.database import Database
from peat_sidecar.records.signers import SignerRow
from peat_sidecar.records.values import OWNED, FaultKind, agent_of

_CACHED_AGENTS = 4096
_is_key = re.compile(r"[0-9a-f]{64}").fullmatch


class Policy:
    """Used under the database's lock; what changes it is called within a transaction."""

    def __init__(self, database: Database, own: EndpointId) -> None:
        self.own = own
        self._database = database
        self.load()

    def load(self) -> None:
        """As it is in the database: at start, and after a transaction that was undone."""
        ((has_roster,),) = self._database.rows("SELECT has_roster FROM totals")
        rows = self._database.rows("SELECT key, agent_id, also FROM members")
        self.members = {EndpointId(key): agent for key, agent, _ in rows if agent is not None}
        self.also = frozenset(EndpointId(key) for key, _, also in rows if also)
        self.has_roster = bool(has_roster)
        self._forget_owners()

    def verdict(self, signer: SignerRow) -> FaultKind | None:
        """Why its records do not count at all; None: they do."""
        if signer.key == self.own:
            return None
        if signer.banned:
            return FaultKind.BANNED
        if self.has_roster and signer.key not in self.members and signer.key not in self.also:
            return FaultKind.STRANGER
        return None

    def counts(self, signer: SignerRow, collection: str, owner: EndpointId | None) -> bool:
        """Whether its record of a document with that owner does."""
        return self.verdict(signer) is None and (collection not in OWNED or signer.key == owner)

    def owner(self, collection: str, doc_id: str) -> EndpointId | None:
        """Who alone may write the document; None also where everyone may."""
        return self.owner_of(agent_of(doc_id)) if collection in OWNED else None

    def owner_of(self, agent_id: str) -> EndpointId | None:
        """Whose documents begin with the agent id."""
        if agent_id in self._owners:
            return self._owners[agent_id]
        if len(self._owners) >= _CACHED_AGENTS:
            self._owners.clear()
        owner = self._owners[agent_id] = self._find_owner(agent_id)
        return owner

    def may_claim(self, agent_id: str) -> bool:
        """Whether the next signer that counts becomes its owner."""
        return bool(agent_id) and not self.has_roster and self.owner_of(agent_id) is None

    def give(self, agent_id: str, signer: EndpointId, *, claimed: bool = False) -> None:
        """The agent id belongs to the signer; `claimed`: by the settings of this node."""
        self._database.execute(
            "INSERT OR REPLACE INTO owners VALUES (?,?,?)", (agent_id, signer.value, claimed)
        )
        self._forget_owners()

    def is_claimed(self, agent_id: str) -> bool:
        """Whether the settings of this node have given it to this node."""
        query = "SELECT 1 FROM owners WHERE agent_id = ? AND key = ? AND claimed"
        return bool(self._database.rows(query, (agent_id, self.own.value)))

    def is_same_roster(self, members: Mapping[EndpointId, str] | None, also: Collection[EndpointId]) -> bool:
        """Whether `set_members` would change nothing."""
        has_roster = members is not None
        return (self.has_roster, self.members, self.also) == (
            has_roster,
            dict(members or {}),
            frozenset(also),
        )

    def release(self, signer: EndpointId) -> list[str]:
        """The agent ids that the signer was the first to claim belong to nobody now."""
        where = "FROM owners WHERE key = ? AND NOT claimed"
        rows = self._database.fetch(f"SELECT agent_id {where}", (signer.value,))
        self._database.execute(f"DELETE {where}", (signer.value,))
        self._forget_owners()
        return [agent_id for (agent_id,) in rows]

    def set_members(
        self, members: Mapping[EndpointId, str] | None, also: Collection[EndpointId]
    ) -> tuple[set[EndpointId], set[str]]:
        """Signers whose verdict may have changed, and agent ids whose owner may have."""
        before = dict(self.members), self.also, self.has_roster
        self.has_roster = members is not None
        self.members = dict(members or {})
        self.also = frozenset(also)
        self._database.execute("UPDATE totals SET has_roster = ?", (self.has_roster,))
        self._database.execute("DELETE FROM members")
        self._database.execute_many(
            "INSERT INTO members VALUES (?,?,?)",
            [(key.value, self.members.get(key), key in self.also) for key in self.members.keys() | self.also],
        )
        self._forget_owners()
        if before[2] != self.has_roster:
            every = {EndpointId(key) for (key,) in self._database.rows("SELECT key FROM signers")}
            return every, set()
        signers = (before[0].keys() ^ self.members.keys()) | (before[1] ^ self.also)
        agents = {agent for _, agent in before[0].items() ^ self.members.items()}
        return set(signers), agents

    def _find_owner(self, agent_id: str) -> EndpointId | None:
        rows = self._database.rows("SELECT key, claimed FROM owners WHERE agent_id = ?", (agent_id,))
        if rows and rows[0][1] and rows[0][0] == self.own.value:
            return self.own
        if self.has_roster:
            return self._owners_by_roster.get(agent_id)
        if _is_key(agent_id):
            return EndpointId(bytes.fromhex(agent_id))
        return EndpointId(rows[0][0]) if rows else None

    def _forget_owners(self) -> None:
        self._owners: dict[str, EndpointId | None] = {}
        self._owners_by_roster = {
            agent: key for key, agent in sorted(self.members.items(), key=lambda item: item[0], reverse=True)
        }


def prefix_range(agent_id: str) -> tuple[str, str, str]:
    """The agent id, and the bounds of the document ids that begin with it and a colon."""
    return agent_id, f"{agent_id}:", f"{agent_id};"
