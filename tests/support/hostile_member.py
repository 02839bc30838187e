"""A member of a formation that has the key and then says whatever it likes, over real Iroh."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

from peat_sidecar.errors import PeatError
from peat_sidecar.mesh import Formation as Keys
from peat_sidecar.mesh.handshake import exchange_welcomes, prove_as_dialer
from peat_sidecar.net import IrohEndpoint, Stream
from peat_sidecar.records import SignedRecord, Signer
from peat_sidecar.wire import MESH_ALPN, Batches, WireBatch, WireRecord, encode_frame
from tests.support.formations import Formation
from tests.support.networks import everyone


class HostileMember:
    """One session with a node, which it never reads from."""

    def __init__(self, signer: Signer, stream: Stream) -> None:
        self.signer = signer
        self.stream = stream

    async def say(self, data: bytes) -> None:
        """Any bytes; no matter when the node ends it."""
        with contextlib.suppress(PeatError):
            await self.stream.write(data)

    async def tell(
        self, records: Sequence[SignedRecord], signer: Signer | None = None, upto: int = 0
    ) -> None:
        """A batch of records, as if they were all of the signer's."""
        whose = (signer or self.signer).id
        batch = WireBatch(whose, 0, upto, tuple(WireRecord(each.signature, each.body) for each in records))
        await self.say(encode_frame(Batches((batch,))))


@contextlib.asynccontextmanager
async def hostile_member(fleet: Formation, name: str) -> AsyncIterator[HostileMember]:
    """Admitted by the node of that name. Its endpoint id is its signer's."""
    key, target = secrets.token_bytes(32), fleet.address(name)
    endpoint = await IrohEndpoint.bind(
        key, bind_addresses=("127.0.0.1:0",), alpns=(MESH_ALPN,), admit=everyone
    )
    try:
        connection = await endpoint.connect(target, MESH_ALPN)
        stream = await connection.open_stream()
        keys = Keys(fleet.app_id, [Keys.parse_key(fleet.key_file.read_text())])
        await prove_as_dialer(keys, stream, endpoint.id, target.endpoint_id)
        await exchange_welcomes(stream, target.endpoint_id)
        stream.stall_seconds = None
        yield HostileMember(Signer(key), stream)
    finally:
        await endpoint.close()
