"""Where nodes are: said in a node's own document, whoever writes the rest, and heard from the others'."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Whereabouts
from peat_sidecar.records import Records, Signer
from tests.support.nodes import bounded, until

OWN, OTHER = Signer(bytes([1]) * 32), Signer(bytes([2]) * 32)
FAR = EndpointId(bytes([9]) * 32)


class Table:
    """Keeps what it is told, as the table of peers does."""

    def __init__(self) -> None:
        self.found: list[PeerAddress] = []
        self.reached: list[EndpointId] = []
        self.connected: frozenset[EndpointId] = frozenset()
        self.silent: frozenset[EndpointId] = frozenset()

    def discovered(self, peer: PeerAddress, source: str) -> None:
        assert source == "record"
        self.found.append(peer)

    def sessions(self) -> frozenset[EndpointId]:
        return self.connected

    async def reach(self, peer: EndpointId) -> PeerAddress:
        self.reached.append(peer)
        if peer in self.silent:
            await asyncio.Event().wait()
        raise PeerUnavailable("it is not there")


class Turns:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.slept = 0
        self.seconds = 1_790_000_000.0
        self._go = asyncio.Event()

    async def sleep(self, _: float) -> None:
        self.slept += 1
        await self._go.wait()
        self._go.clear()

    def now(self) -> float:
        return self.seconds

    def turn(self) -> None:
        self._go.set()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Records.open(tmp_path / "own.db", OWN)
    opened.claim("ship")
    yield opened
    opened.close()


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Records]:
    opened = Records.open(tmp_path / "others.db", OTHER)
    opened.claim("shore")
    yield opened
    opened.close()


def whereabouts(records: Records, table: Table, turns: Turns, addresses: list[str]) -> Whereabouts:
    return Whereabouts(
        "ship",
        records,
        table,
        lambda: PeerAddress(OWN.id, tuple(addresses)),
        about={"version": "1"},
        sleep=turns.sleep,
        now=turns.now,
    )


def tell(others: Records, records: Records, **fields: object) -> None:
    others.put("nodes", "shore", fields)
    batch = others.since(OTHER.id, 0)
    assert batch is not None
    records.merge([batch])


async def test_own_addresses_are_said_and_follow_changes(records: Records) -> None:
    turns, addresses = Turns(), ["192.0.2.1:4433"]
    running = asyncio.create_task(whereabouts(records, Table(), turns, addresses).run())
    await until(lambda: turns.slept == 1)
    document = records.get("nodes", "ship")
    assert document is not None
    assert document.fields == {
        "agent_id": "ship",
        "version": "1",
        "endpoint_addr": f"{OWN.id}@192.0.2.1:4433",
        "alive_on": "2026-09-20",
    }
    addresses[:] = ["192.0.2.7:4433"]
    turns.turn()
    await until(lambda: turns.slept == 2)
    changed = records.get("nodes", "ship")
    assert changed is not None
    assert changed.fields["endpoint_addr"] == f"{OWN.id}@192.0.2.7:4433"
    head = records.heads()[OWN.id].sequence
    turns.turn()
    await until(lambda: turns.slept == 3)
    assert records.heads()[OWN.id].sequence == head, "the same again is not written"
    turns.seconds += 86_400
    turns.turn()
    await until(lambda: turns.slept == 4)
    assert records.heads()[OWN.id].sequence > head, "once a day it is"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_writes_the_rest_keeps_the_address(records: Records) -> None:
    where = whereabouts(records, Table(), Turns(), ["192.0.2.1:4433"])
    where.put("nodes", "ship", {"agent_id": "ship", "k8s_version": "1.31"})
    document = where.get("nodes", "ship")
    assert document is not None
    assert document.fields["k8s_version"] == "1.31"
    assert document.fields["endpoint_addr"].startswith(str(OWN.id))
    where.put("deployments", "ship:app", {"agent_id": "ship"})
    other = where.get("deployments", "ship:app")
    assert other is not None
    assert "endpoint_addr" not in other.fields
    assert where.list_ids("deployments") == ["ship:app"]
    assert where.delete("deployments", "ship:app")


async def test_others_are_heard_at_start_and_later(records: Records, others: Records) -> None:
    tell(others, records, agent_id="shore", endpoint_addr=f"{OTHER.id}@192.0.2.2:1")
    table, turns = Table(), Turns()
    running = asyncio.create_task(whereabouts(records, table, turns, ["192.0.2.1:4433"]).run())
    await until(lambda: turns.slept == 1)
    assert table.found == [PeerAddress(OTHER.id, ("192.0.2.2:1",))]
    await asyncio.to_thread(tell, others, records, agent_id="shore", endpoint_addr=f"{FAR}@192.0.2.3:1")
    await until(lambda: len(table.found) == 2)
    assert table.found[1] == PeerAddress(FAR, ("192.0.2.3:1",))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "said", [None, 5, "", "rubbish", f"{OWN.id}@192.0.2.66:1", f"{OTHER.id}@no port", "x" * 100_000]
)
async def test_what_is_no_address_of_another_is_passed_over(
    records: Records, others: Records, said: object
) -> None:
    tell(others, records, agent_id="shore", endpoint_addr=said)
    table, turns = Table(), Turns()
    where = whereabouts(records, table, turns, ["192.0.2.1:4433"])
    running = asyncio.create_task(where.run())
    await until(lambda: turns.slept == 1)
    assert table.found == []
    assert await asyncio.to_thread(where.owner_of, "shore") == OTHER.id
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_whom_to_ask_is_the_endpoint_that_a_node_names(records: Records, others: Records) -> None:
    tell(others, records, agent_id="shore", endpoint_addr=f"{FAR}@192.0.2.2:1")
    turns = Turns()
    where = whereabouts(records, Table(), turns, ["192.0.2.1:4433"])
    running = asyncio.create_task(where.run())
    await until(lambda: turns.slept == 1)
    assert await asyncio.to_thread(where.owner_of, "shore") == FAR
    assert await asyncio.to_thread(where.owner_of, "nobody") is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_is_alone_waits_for_none_that_is_gone(records: Records, others: Records) -> None:
    for number, name in enumerate(("shore", "shore-2", "shore-3")):
        others.put("nodes", name, {"endpoint_addr": f"{EndpointId(bytes([20 + number]) * 32)}@192.0.2.2:1"})
    batch = others.since(OTHER.id, 0)
    assert batch is not None
    records.merge([batch])
    table, turns = Table(), Turns()
    table.silent = frozenset(EndpointId(bytes([20 + number]) * 32) for number in range(3))
    running = asyncio.create_task(whereabouts(records, table, turns, ["192.0.2.1:4433"]).run())
    await until(lambda: set(table.reached) == table.silent)
    running.cancel()
    await bounded(asyncio.gather(running, return_exceptions=True))


async def test_who_is_alone_tries_those_it_has_heard_of(records: Records, others: Records) -> None:
    tell(others, records, agent_id="shore", endpoint_addr=f"{OTHER.id}@192.0.2.2:1")
    table, turns = Table(), Turns()
    running = asyncio.create_task(whereabouts(records, table, turns, ["192.0.2.1:4433"]).run())
    await until(lambda: turns.slept == 1)
    assert table.reached == [OTHER.id]
    table.connected = frozenset({FAR})
    turns.turn()
    await until(lambda: turns.slept == 2)
    assert table.reached == [OTHER.id], "with a session nobody is tried"
    running.cancel()
    await bounded(asyncio.gather(running, return_exceptions=True))
