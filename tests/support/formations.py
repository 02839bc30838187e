"""Real sidecars in processes of their own that share a formation key: for tests of the mesh, end to end.

    async with formation(tmp_path) as fleet:
        await fleet.start("a")
        await fleet.start("b", knows=["a"])
        await put(fleet["a"], "notes", "one", text="hello")

A node keeps its folder, id and port through kills and restarts; ids and addresses are known before it runs.
"""

import asyncio
import base64
import contextlib
import json
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tools.sidecar import Sidecar

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Entry, Role, init_draft, read_draft, sign_draft, write_draft

WAIT_SECONDS = 20
_LOOK_SECONDS = 0.03
_SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock.py")

Document = dict[str, Any]


class Formation:
    """The nodes by their names; `start` and `kill` as often as one likes."""

    def __init__(self, folder: Path, app_id: str = "fleet") -> None:
        self.folder = folder
        self.app_id = app_id
        folder.mkdir(exist_ok=True)
        self.key_file = folder / "formation.key"
        _write_secret(self.key_file, secrets.token_hex(32).encode())
        self._addresses: dict[str, PeerAddress] = {}
        self._running: dict[str, tuple[Sidecar, contextlib.AsyncExitStack]] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self._shifts: dict[str, float] = {}

    def __getitem__(self, name: str) -> Sidecar:
        """A node that runs."""
        return self._running[name][0]

    @property
    def running(self) -> list[Sidecar]:
        return [sidecar for sidecar, _ in self._running.values()]

    def folder_of(self, name: str) -> Path:
        """Its data directory."""
        return self.folder / name

    def address(self, name: str) -> PeerAddress:
        """Id and port, which are made at the first question."""
        if name not in self._addresses:
            key = secrets.token_bytes(32)
            self.folder_of(name).mkdir(parents=True, exist_ok=True)
            _write_secret(self.folder_of(name) / "identity.key", key)
            public = Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
            self._addresses[name] = PeerAddress(EndpointId(public), (f"127.0.0.1:{_free_port()}",))
        return self._addresses[name]

    def id(self, name: str) -> EndpointId:
        return self.address(name).endpoint_id

    async def start(
        self,
        name: str,
        *,
        knows: Iterable[str] | None = None,
        clock_seconds: float | None = None,
        **settings: Any,
    ) -> Sidecar:
        """Starts a node that dials those that it knows; without arguments again as it was before.

        `settings` as the configuration file has them; `clock_seconds` is how far its clock goes wrong.
        """
        address = self.address(name)
        kept = self._settings.setdefault(name, {"agent_id": name, "peers": []})
        kept |= settings
        if knows is not None:
            kept["peers"] = [str(self.address(other)) for other in knows]
        if clock_seconds is not None:
            self._shifts[name] = clock_seconds
        config = self.folder / f"{name}.toml"
        config.write_text(_toml(self._defaults | kept))
        shift = self._shifts.get(name, 0.0)
        prefix = (sys.executable, str(_SHIFTED_CLOCK), str(shift)) if shift else ()
        async with contextlib.AsyncExitStack() as stack:
            sidecar = await stack.enter_async_context(
                Sidecar.start(
                    self.folder_of(name),
                    bind=address.addresses[0],
                    prefix=prefix,
                    options=["--config", str(config)],
                )
            )
            self._running[name] = (sidecar, stack.pop_all())
        assert sidecar.peer.endpoint_id == address.endpoint_id
        return sidecar

    async def stop(self, name: str) -> None:
        """As an operator does."""
        _, stack = self._running.pop(name)
        await stack.aclose()

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        sidecar, stack = self._running.pop(name)
        await sidecar.kill()
        await stack.aclose()

    async def close(self) -> None:
        """Stops all at once."""
        await asyncio.gather(*(self.stop(name) for name in list(self._running)))

    @property
    def _defaults(self) -> dict[str, Any]:
        return {
            "app_id": self.app_id,
            "formation_key_files": [str(self.key_file)],
            "discover_mdns": False,
            "log_level": "debug",
        }


@contextlib.asynccontextmanager
async def formation(folder: Path, app_id: str = "fleet") -> AsyncIterator[Formation]:
    """A formation without nodes yet; they are stopped at the end."""
    made = Formation(folder, app_id)
    try:
        yield made
    finally:
        await made.close()


class RosterAdmin:
    """A formation's roster and the key that signs it, far from all nodes. A node's agent id is its name."""

    def __init__(self, folder: Path, fleet: Formation) -> None:
        self._file, self._key, self._fleet = folder / "fleet.json", folder / "admin.pem", fleet
        self._draft, _ = init_draft(self._file, self._key, fleet.app_id)

    def add(self, name: str, role: Role) -> None:
        write_draft(self._file, read_draft(self._file).add(self._fleet.id(name), Entry(name, role)))

    def remove(self, name: str) -> None:
        write_draft(self._file, read_draft(self._file).remove(self._fleet.id(name)))

    def sign(self) -> Path:
        """The signed roster, newer than all before."""
        return sign_draft(self._file, self._key, time.time())[0]

    def settings(self) -> dict[str, str]:
        """What each node has."""
        admin = str(self._draft.admin)
        return {"admission": "key+roster", "roster_admin": admin, "roster": str(self.sign())}


async def load_roster(sidecar: Sidecar, signed: bytes) -> None:
    await sidecar.call("LoadRoster", signedRoster=base64.b64encode(signed).decode())


async def put(sidecar: Sidecar, collection: str, id: str, **document: Any) -> None:
    """Returns when it is durable."""
    await sidecar.call("PutDocument", collection=collection, docId=id, jsonData=json.dumps(document))


async def get(sidecar: Sidecar, collection: str, id: str) -> Document | None:
    """None where there is none."""
    data = (await sidecar.call("GetDocument", collection=collection, docId=id)).get("jsonData")
    return json.loads(data) if data is not None else None


async def delete(sidecar: Sidecar, collection: str, id: str) -> None:
    await sidecar.call("DeleteDocument", collection=collection, docId=id)


async def documents(sidecar: Sidecar, collection: str) -> dict[str, Document | None]:
    """All of a collection."""
    ids = (await sidecar.call("ListDocuments", collection=collection)).get("docIds", [])
    found = await asyncio.gather(*(get(sidecar, collection, id) for id in ids))
    return dict(zip(ids, found, strict=True))


async def peer(sidecar: Sidecar, id: EndpointId) -> Mapping[str, Any]:
    """What a node says of a peer; empty when it does not know it."""
    listed = (await sidecar.call("ListPeers")).get("peers", [])
    return next((each for each in listed if each["endpointId"] == str(id)), {})


async def faults(sidecar: Sidecar, kind: str) -> list[Mapping[str, Any]]:
    """Of records, as its status shows them."""
    listed = (await sidecar.call("GetStatus")).get("faults", [])
    return [fault for fault in listed if fault["kind"] == kind]


async def wants(sidecar: Sidecar) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = (await sidecar.call("ListWants")).get("wants", [])
    return found


async def eventually(
    holds: Callable[[], Awaitable[object]], what: str, seconds: float = WAIT_SECONDS
) -> None:
    """Asks again and again until that is true; fails with `what` when it never is."""
    try:
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def eventually_equal(
    sidecars: Iterable[Sidecar], collection: str, seconds: float = WAIT_SECONDS
) -> None:
    """All documents of a collection are the same on all nodes, and there are some."""
    nodes = list(sidecars)
    found: list[dict[str, Document | None]] = []

    async def equal() -> bool:
        found[:] = await asyncio.gather(*(documents(node, collection) for node in nodes))
        return bool(found[0]) and all(each == found[0] for each in found)

    try:
        await eventually(equal, f"{collection} are the same on all {len(nodes)} nodes", seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}; what differs: {_differences(nodes, found)}") from None


def _differences(nodes: list[Sidecar], found: list[dict[str, Document | None]]) -> dict[str, Any]:
    ids = sorted({id for each in found for id in each})
    odd = [id for id in ids if any(each.get(id) != found[0].get(id) for each in found)]
    names = [node.data_dir.name for node in nodes]
    return {id: {name: each.get(id) for name, each in zip(names, found, strict=True)} for id in odd[:5]}


def _toml(settings: Mapping[str, Any]) -> str:
    """Scalars and lists are written as JSON has them; lists of tables come last."""
    tables = {name: value for name, value in settings.items() if _is_tables(value)}
    lines = [f"{name} = {_value(value)}" for name, value in settings.items() if name not in tables]
    for name, rows in tables.items():
        for row in rows:
            lines += [f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in row.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: object) -> str:
    return json.dumps(value, default=str)


def _write_secret(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
