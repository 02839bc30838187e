"""One provider at the other end of a long, lossy or thin link: how much of the link carries payload."""

from dataclasses import dataclass

from tests.lab.network import Link

from bench.lab.hosts import MEBIBYTE, LabSetting, access_link, fetch_seconds, hosts
from bench.lab.peers import curl_seconds, rust_seconds, skopeo_seconds
from bench.measurement import Row, rate_text, size_text

_SLOW_PEER_BYTES = 4_000_000
_SLOW_LINK_BITS = 10e6
"""Up to here peers are compared on at most 4 MB, and so are we beside them."""


@dataclass(frozen=True, slots=True)
class Path:
    """A link and what is fetched over it."""

    rate_bits: float
    round_trip_seconds: float
    loss: float
    size_bytes: int
    at_least: float
    """Of the link, as payload."""

    @property
    def link(self) -> Link:
        return access_link(self.rate_bits, self.round_trip_seconds, self.loss)

    @property
    def text(self) -> str:
        return f"{rate_text(self.rate_bits)}, {self.round_trip_seconds * 1000:.0f} ms, {self.loss:.0%} loss"


LOSSY = Path(2e6, 0.6, 0.01, 32 * MEBIBYTE, 0.9)
THIN = Path(256e3, 0.6, 0.02, 2 * MEBIBYTE, 0.8)
LONG = Path(100e6, 0.1, 0.0, 256 * MEBIBYTE, 0.85)


_PEERS = {
    "Rust iroh-blobs": rust_seconds,
    "curl over TCP": curl_seconds,
    "skopeo over TCP": skopeo_seconds,
}


async def lossy_rows(setting: LabSetting) -> None:
    """2 Mbit/s."""
    await _rows(setting, LOSSY, setting.sized(LOSSY.size_bytes, 2 * MEBIBYTE))


async def thin_rows(setting: LabSetting) -> None:
    """256 kbit/s."""
    await _rows(setting, THIN, setting.sized(THIN.size_bytes, MEBIBYTE // 4))


async def long_rows(setting: LabSetting) -> None:
    """100 Mbit/s."""
    await _rows(setting, LONG, setting.sized(LONG.size_bytes, 32 * MEBIBYTE))


async def _rows(setting: LabSetting, path: Path, size: int) -> None:
    ours = await _our_share(setting, path, size)
    subject = f"{path.text}, {size_text(size)}"
    figure = rate_text(ours * path.rate_bits)
    setting.report.add(share_row(subject, ours, path.rate_bits, path.at_least))
    compared = min(size, _SLOW_PEER_BYTES) if path.rate_bits <= _SLOW_LINK_BITS else size
    if compared != size:
        ours = await _our_share(setting, path, compared)
        figure = rate_text(ours * path.rate_bits)
    subject = f"{path.text}, {size_text(compared)}"
    for name, measure in _PEERS.items():
        async with hosts(setting, {"ship": path.link, "shore": Link()}) as lab:
            theirs = compared * 8 / await measure(lab, compared) / path.rate_bits
        beside = f"{rate_text(theirs * path.rate_bits)} {name}, {theirs:.1%}"
        setting.report.add(Row(subject, figure, beside, f"{ours / theirs:.2f} times as fast", "", None))


def share_row(subject: str, share: float, rate_bits: float, at_least: float) -> Row:
    """Payload beside what the link can carry."""
    figure = rate_text(share * rate_bits)
    return Row(subject, figure, "", f"{share:.1%} of the link", f">= {at_least:.0%}", share >= at_least)


async def _our_share(setting: LabSetting, path: Path, size: int) -> float:
    async with hosts(setting, {"ship": path.link, "shore": Link()}) as lab:
        provider, getter = await lab.pair()
        blob = await lab.offer(provider, size)
        return size * 8 / await fetch_seconds(getter, blob, provider) / path.rate_bits
