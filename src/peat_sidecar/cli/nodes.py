"""The commands `status`, `peers`, `peers connect` and `peers disconnect`."""

from typing import Annotated

import typer

from peat_sidecar.cli.client import ApiError, Json
from peat_sidecar.cli.printing import (
    duration,
    number,
    plural,
    print_json,
    print_line,
    print_pairs,
    print_text,
    size,
    word,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId, PeerAddress


@asks_daemon
def status(session: Session) -> None:
    """Shows what the daemon is, what it has and how it is reached."""
    answer = session.client.call("GetStatus")
    if session.as_json:
        print_json(answer)
        return
    store: Json = answer.get("store", {})
    partial = number(store.get("partialBlobs"))
    partly = f", {plural(partial, 'partial blob')} with {size(store.get('partialBytes'))}" if partial else ""
    addresses = answer.get("endpointAddr", "").partition("@")[2]
    print_pairs(
        [
            ("id", answer.get("nodeId", "")),
            *(("reached at", address) for address in addresses.split(",") if address),
            ("phase", word(answer.get("phase"), "NODE_PHASE_").replace("_", " ")),
            ("version", answer.get("version", "")),
            ("running for", duration(answer.get("uptimeSeconds", 0.0))),
            ("peers", f"{number(answer.get('connectedPeers'))} connected"),
            ("transfers", f"{number(answer.get('runningTransfers'))} running"),
            ("data", store.get("directory", "")),
            ("packages", f"{number(store.get('packages')):,}"),
            ("blobs", f"{number(store.get('blobs')):,} with {size(store.get('bytes'))}{partly}"),
            ("free", size(store.get("freeBytes"))),
            *(("import from", root) for root in answer.get("importRoots", [])),
            *(("export to", root) for root in answer.get("exportRoots", [])),
        ]
    )


@asks_daemon
def peers(session: Session) -> None:
    """Lists the peers that may fetch from here."""
    found: list[Json] = session.client.call("ListPeers").get("peers", [])
    if session.as_json:
        print_json({"peers": found})
        return
    if not found:
        print_text("no peers; name one with `peat-sidecar peers connect ID@host:port`")
    for peer in found:
        _print_peer(peer)


@asks_daemon
def connect(
    session: Session,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="ID@host:port, or an ID alone.")],
) -> None:
    """Names a peer: it may fetch from here, and is dialled when an address is given."""
    address = PeerAddress.parse(peer)
    request = {"endpointId": str(address.endpoint_id), "addresses": list(address.addresses)}
    answer = session.client.call("ConnectPeer", request)
    found: Json = answer.get("peer", {})
    if session.as_json:
        print_json(answer)
    elif not found.get("lastError"):
        _print_peer(found)
    if fault := found.get("lastError"):
        raise ApiError("unavailable", f"it may connect from now on, but cannot be reached from here: {fault}")


@asks_daemon
def disconnect(
    session: Session,
    peer: Annotated[str, typer.Argument(metavar="PEER", help="Its id.")],
) -> None:
    """Forgets a peer: its connections are closed and it is not admitted any more."""
    try:
        id = EndpointId.parse(peer.partition("@")[0])
    except ConfigError as error:
        raise ConfigError(f"{error}; `peat-sidecar peers` lists them") from None
    answer = session.client.call("DisconnectPeer", {"endpointId": str(id)})
    print_json(answer) if session.as_json else print_text(f"forgot {id}")


def _print_peer(peer: Json) -> None:
    """The id in a line of its own, whole: it is what people copy."""
    print_line(peer.get("endpointId", ""))
    if peer.get("connected"):
        rtt = peer.get("rttSeconds", 0.0) * 1000
        traffic = f"sent {size(peer.get('sentBytes'))}, received {size(peer.get('receivedBytes'))}"
        print_line(f"  connected, round trip {rtt:.1f} ms, {traffic}")
    else:
        print_line("  not connected")
    if peer.get("addresses"):
        print_text(f"at {', '.join(peer['addresses'])}", indent="  ")
    if peer.get("lastError"):
        print_text(f"last error: {peer['lastError']}", indent="  ")
