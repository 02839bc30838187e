"""What a whole blob costs on the wire: bytes of the protocol, and bytes of IP packets of 1,500 bytes.

The two sidecars run in two network namespaces with a veth pair between them; see `namespaces`.
"""

import asyncio
import os
import shutil

from tests.support.real_files import real_file
from tools.namespaces import NamespaceError
from tools.sidecar import Sidecar

from bench.measurement import Row, size_text
from bench.namespaces import VethPair
from bench.setting import Setting

_BLOB_BYTES = 100_000_000
_PROTOCOL_LIMIT = 0.005
_INTERFACE_LIMIT = 0.06


async def wire_rows(setting: Setting) -> None:
    """Needs root for the namespaces; says so when it is not."""
    subject = f"wire cost of {size_text(_BLOB_BYTES)}"
    if os.geteuid() != 0:
        setting.report.add(Row(subject, "not measured", "", "needs root", "<= 6 %", None))
        return
    try:
        with VethPair() as wire:
            await _measure(setting, wire, subject)
    except NamespaceError as error:
        setting.report.add(Row(subject, "not measured", "", str(error), "<= 6 %", None))


async def _measure(setting: Setting, wire: VethPair, subject: str) -> None:
    content = setting.scratch / "wire-content"
    await asyncio.to_thread(real_file, content, _BLOB_BYTES)
    async with (
        Sidecar.start(
            setting.scratch / "provider",
            import_roots=[setting.scratch],
            bind=f"{wire.addresses[0]}:0",
            prefix=wire.command(0),
        ) as provider,
        Sidecar.start(
            setting.scratch / "getter", bind=f"{wire.addresses[1]}:0", prefix=wire.command(1)
        ) as getter,
    ):
        blob = await provider.import_file(content, link=True)
        await provider.admit(getter.peer)
        before = wire.sent(0), wire.sent(1)
        progress = await getter.fetch_blob(blob, provider.peer)
        down, up = wire.sent(0) - before[0], wire.sent(1) - before[1]
    for sidecar in provider, getter:
        await asyncio.to_thread(shutil.rmtree, sidecar.data_dir)
    protocol = progress.wire_bytes / _BLOB_BYTES - 1
    interface = (down.ip_bytes + up.ip_bytes) / _BLOB_BYTES - 1
    setting.report.add(
        Row(
            f"{subject}, protocol",
            f"{progress.wire_bytes:,} bytes",
            "",
            f"+{protocol:.2%}",
            f"<= {_PROTOCOL_LIMIT:.1%}",
            protocol <= _PROTOCOL_LIMIT,
        )
    )
    setting.report.add(
        Row(
            f"{subject}, IP packets of both directions",
            f"{down.ip_bytes:,} + {up.ip_bytes:,} bytes",
            f"{down.packets:,} + {up.packets:,} packets",
            f"+{interface:.2%}",
            f"<= {_INTERFACE_LIMIT:.1%}",
            interface <= _INTERFACE_LIMIT,
        )
    )
