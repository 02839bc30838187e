"""What has to be remembered and nothing else can tell: peers, bans, wants, exports, replicas, pins, and more.

One SQLite file. A write is on the disk when its call returns; a file that cannot be read is set aside, never
deleted.
"""

from peat_sidecar.state.rows import Ban, ExportRow, Origin, Pin, RememberedPeer, ReplicaRow, WantRow
from peat_sidecar.state.state import State

__all__ = ["Ban", "ExportRow", "Origin", "Pin", "RememberedPeer", "ReplicaRow", "State", "WantRow"]
