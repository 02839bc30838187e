"""How many streams and connections a fetch uses, beside what a provider takes from one peer."""

from peat_sidecar.net.endpoint import MAX_CONNECTIONS_PER_PEER
from peat_sidecar.transfer.large_blobs import CONNECTIONS, STREAMS
from peat_sidecar.transfer.provider import ANSWERS_PER_PEER


def test_a_provider_answers_all_streams_of_a_fetch_at_once() -> None:
    """One that waits for its turn looks silent, and its connection is given up."""
    assert STREAMS + CONNECTIONS - 1 <= ANSWERS_PER_PEER
    assert CONNECTIONS < MAX_CONNECTIONS_PER_PEER
