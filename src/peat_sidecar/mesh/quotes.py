"""What it would take to get a package now; asks nobody."""

from collections.abc import Mapping

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.mesh.offers import Offer, Offers
from peat_sidecar.mesh.providers import Providers
from peat_sidecar.mesh.want import ProviderInfo, Quote
from peat_sidecar.packages import LAYOUT_NAMES
from peat_sidecar.store import Store
from peat_sidecar.wire import parse_hash_sequence

_SEQUENCE_LIMIT_BYTES = 4 << 20
_NOT_ITS_OWN = 1 + len(LAYOUT_NAMES)
"""Blobs of a collection that are not the package's: the names, and the files of the layout."""


def quote(
    name: str,
    offers: Offers,
    providers: Providers,
    store: Store,
    rates: Mapping[EndpointId, float],
    limit: float | None = None,
) -> Quote:
    """At most `limit` bytes a second. Blocks."""
    offer = offers.resolve(name)
    if offer is None:
        return Quote(name, None, None, 0, 0, (), 0.0, limit, 0)
    holders = providers.holders(offer.collection)
    missing = missing_bytes(offer, store)
    connected = [rates[each.endpoint_id] for each in holders if each.connected and each.endpoint_id in rates]
    known = [rates[each.endpoint_id] for each in holders if each.endpoint_id in rates]
    rate = sum(connected) or max(known or list(rates.values())[-1:], default=0.0)
    return Quote(
        name,
        offer.root,
        offer.collection,
        offer.bytes,
        missing,
        tuple(ProviderInfo(each.endpoint_id, each.agent_id, each.state, each.connected) for each in holders),
        rate,
        limit,
        store.usage().free_bytes,
    )


def missing_bytes(offer: Offer, store: Store) -> int:
    """Of a package that is not here; blocks."""
    return max(0, offer.bytes - _present(offer, store))


def _present(offer: Offer, store: Store) -> int:
    """Bytes of the package that are here, as far as its collection says which they are."""
    package = store.package(offer.collection)
    if package is not None:
        return package.bytes
    hashes = hashes_of(offer.collection, store)
    if not hashes:
        root = store.find(offer.root)
        return root.present if root is not None else 0
    return sum(_here(store, each) for each in dict.fromkeys(hashes[_NOT_ITS_OWN:]))


def hashes_of(collection: BlobHash, store: Store) -> tuple[BlobHash, ...]:
    """What a collection that is here names; nothing where it is not, or is none. Blocks."""
    info = store.find(collection)
    if info is None or not info.complete or info.size > _SEQUENCE_LIMIT_BYTES:
        return ()
    try:
        with store.reader(collection) as reader:
            return parse_hash_sequence(reader.read(0, info.size))
    except PeatError:
        return ()


def _here(store: Store, blob: BlobHash) -> int:
    info = store.find(blob)
    return info.present if info is not None else 0
