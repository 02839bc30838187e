"""The list of faults: what was wrong with what came, counted, and bounded whatever comes."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.values import Fault, FaultKind

_FAULTS_LIMIT = 256
_UNPROVEN = frozenset({FaultKind.FORGED, FaultKind.MALFORMED, FaultKind.OLDER})
"""Here the signer is what the source says, which may be anything: one entry for a source."""

_Key = tuple[FaultKind, EndpointId | None, EndpointId | None]


class Faults:
    """Thread-safe. One entry for each kind, signer and source: the last one, and how many there were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[_Key, Fault] = OrderedDict()
        self._counts: Counter[FaultKind] = Counter()

    def add(self, fault: Fault) -> None:
        """Seen once more. The entry that was not seen for longest makes room."""
        key = (fault.kind, None if fault.kind in _UNPROVEN else fault.signer, fault.source)
        with self._lock:
            self._counts[fault.kind] += fault.count
            known = self._seen.pop(key, None)
            self._seen[key] = replace(fault, count=fault.count + (known.count if known else 0))
            if len(self._seen) > _FAULTS_LIMIT:
                self._seen.popitem(last=False)

    def list(self) -> list[Fault]:
        """The latest first."""
        with self._lock:
            return list(reversed(self._seen.values()))

    def counts(self) -> Mapping[FaultKind, int]:
        """Of every kind, since the start."""
        with self._lock:
            return {kind: self._counts[kind] for kind in FaultKind}
