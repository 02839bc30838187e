"""What one peer holds, lacks and has claimed, as far as its frames say. Pure.

There is no queue of frames for a peer: what it shall get is worked out from this whenever its stream has
room. So a peer that does not read costs a few numbers for each signer, whatever happens meanwhile.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.wire import WireHead

SIGNERS_LIMIT = 20_000
"""Signers that one peer may speak of: twice what a node keeps."""
ANSWER_LIMIT = 16_000
"""Heads in one frame; own ones, of which there are fewer, come first."""
_AGAIN_LIMIT = 3
_NO_DIGEST = bytes(16)


class OwnHead(Protocol):
    """How much of one signer's records this node holds."""

    @property
    def sequence(self) -> int: ...
    @property
    def digest(self) -> bytes: ...


class PeerView:
    """One peer, from the beginning of a session."""

    def __init__(self) -> None:
        self.known: dict[EndpointId, int] = {}
        """Its heads."""
        self.is_met = False
        """Whether those are known at all."""
        self.news: set[EndpointId] = set()
        """Signers of whom this node got more, which the peer may lack."""
        self.far: set[EndpointId] = set()
        """Signers of whom it lacks so much that it was told so, and asks when it likes."""
        self.owed: dict[EndpointId, int] = {}
        """What it asked for: signer -> after."""
        self.lacking: dict[EndpointId, int] = {}
        """What it has above our heads: signer -> sequence."""
        self.repairs: dict[EndpointId, int] = {}
        """Signers of whom it has other records than we do, up to the same head."""
        self._failed: dict[EndpointId, int] = {}
        self._again: Counter[EndpointId] = Counter()

    def meet(self, heads: Mapping[EndpointId, int]) -> None:
        """It holds exactly this."""
        self.known = dict(heads)
        self.is_met = True
        self.far.clear()
        self._check()

    def tell(self, signer: EndpointId, sequence: int) -> None:
        """It holds that signer's records up to a sequence, which it says itself."""
        self.known[signer] = sequence
        self.far.discard(signer)
        self._check()

    def give(self, signer: EndpointId, upto: int) -> None:
        """It has given or was given records up to a sequence."""
        if upto > self.known.get(signer, 0):
            self.tell(signer, upto)

    def claim(self, signer: EndpointId, sequence: int, own: int) -> None:
        """It says that it has more than we do; believed until it was asked and gave nothing."""
        if sequence > own and sequence > self._failed.get(signer, 0):
            self.lacking[signer] = sequence

    def fail(self, signer: EndpointId, sequence: int) -> None:
        """It was asked for records up to a sequence, and did not help."""
        self._failed[signer] = max(sequence, self._failed.get(signer, 0))
        if self.lacking.get(signer, 0) <= sequence:
            self.lacking.pop(signer, None)

    def forgive(self) -> None:
        """Now and then, everything is tried again."""
        self._again.clear()
        for signer, sequence in self._failed.items():
            self.lacking.setdefault(signer, sequence)
        self._failed.clear()

    def want(self, signer: EndpointId, after: int, own: int) -> bool:
        """It asks for more than it holds, which is given, or for what it was given already: a few times."""
        if after >= own:
            return False
        if after < self.known.get(signer, 0):
            self._again[signer] += 1
            if self._again[signer] > _AGAIN_LIMIT:
                return False
        self.tell(signer, after)
        self.news.discard(signer)
        self.owed[signer] = after
        return True

    def compare(
        self, told: Iterable[WireHead], own: Mapping[EndpointId, OwnHead], *, whole: bool
    ) -> tuple[WireHead, ...]:
        """Takes in its heads, all of them if `whole`, and returns where ours differ."""
        theirs = {head.signer: head for head in told}
        if whole:
            self.meet({signer: head.sequence for signer, head in theirs.items()})
        differ = [
            WireHead(signer, head.sequence, head.digest)
            for signer, head in own.items()
            if (whole and signer not in theirs) or (signer in theirs and _differ(theirs[signer], head))
        ]
        for signer, head in theirs.items():
            mine = own.get(signer)
            self.tell(signer, head.sequence)
            if mine is None:
                if len(differ) < ANSWER_LIMIT:
                    differ.append(WireHead(signer, 0, _NO_DIGEST))
                self.claim(signer, head.sequence, 0)
            elif head.sequence == mine.sequence and head.digest != mine.digest:
                self.repairs[signer] = head.sequence
            else:
                self.claim(signer, head.sequence, mine.sequence)
        return tuple(differ)

    def _check(self) -> None:
        if len(self.known) > SIGNERS_LIMIT:
            raise RemoteProtocolError(f"the peer speaks of more than {SIGNERS_LIMIT} signers")


def _differ(theirs: WireHead, ours: OwnHead) -> bool:
    return theirs.sequence != ours.sequence or theirs.digest != ours.digest
