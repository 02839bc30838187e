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
    short,
    size,
    word,
)
from peat_sidecar.cli.session import Session, asks_daemon
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.wire import parse_peer

_SOURCES = {
    "named": "named here",
    "allowed": "allowed by its id",
    "mdns": "found on the local network",
    "dns": "found by a name in DNS",
    "record": "known from its record",
    "inbound": "came by itself",
}
_FAULTS_SHOWN = 10


@asks_daemon
def status(session: Session) -> None:
    """Shows what the daemon is, what it has, how it is reached, and what is wrong."""
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
            ("agent id", answer.get("agentId", "")),
            ("formation", _formation(answer)),
            ("documents", _documents(answer.get("records", {}))),
            ("wants", _wants(answer.get("wants", {}))),
        ]
    )
    for each in answer.get("watchers", []):
        print_text(f"{each.get('name', '')}: {each.get('status', '')}")
    if policy := answer.get("wants", {}).get("policy"):
        print_text(f"policy: {policy}")
    for each in answer.get("exports", []):
        failed = f", failed {plural(number(each.get('attempts')), 'time')}" if each.get("attempts") else ""
        why = f": {each['lastError']}" if each.get("lastError") else ""
        print_text(f"to be written to {each.get('target', '')}{failed}{why}")
    _print_faults(answer.get("faults", []))


@asks_daemon
def peers(session: Session) -> None:
    """Lists the peers that are known here."""
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
    peer: Annotated[str, typer.Argument(metavar="PEER", help="ID@host:port, a ticket, or an ID alone.")],
) -> None:
    """Names a peer: it may fetch from here, and is dialled when an address is given."""
    address = parse_peer(peer)
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
    if peer.get("banned"):
        print_line("  banned")
    elif peer.get("connected"):
        rtt = peer.get("rttSeconds", 0.0) * 1000
        traffic = f"sent {size(peer.get('sentBytes'))}, received {size(peer.get('receivedBytes'))}"
        print_line(f"  connected, round trip {rtt:.1f} ms, {traffic}")
    else:
        print_line(f"  not connected{_dialled_again(peer.get('nextDialSeconds', 0.0))}")
    member = ", a member" if peer.get("member") else ""
    if peer.get("source"):
        print_line(f"  {_SOURCES.get(peer['source'], peer['source'])}{member}")
    if peer.get("addresses"):
        print_text(f"at {', '.join(peer['addresses'])}", indent="  ")
    if peer.get("lastError"):
        print_text(f"last error: {peer['lastError']}", indent="  ")


def _dialled_again(seconds: float) -> str:
    """What is due is not said to be due in 0.0 seconds."""
    if not seconds:
        return ""
    return ", dialled again at once" if seconds < 1 else f", dialled again in {duration(seconds)}"


def _formation(answer: Json) -> str:
    formation: Json = answer.get("formation", {})
    if not formation.get("active"):
        return "none: no key is set"
    state = "" if answer.get("syncActive") else ", exchange is stopped"
    refused = number(formation.get("refusedHandshakes"))
    return (
        f"{formation.get('appId', '')}, {plural(number(formation.get('sessions')), 'session')}{state}"
        + (", with a roster" if formation.get("hasRoster") else "")
        + (" that is not here yet: nobody can join" if formation.get("waitsForRoster") else "")
        + (f", {plural(refused, 'handshake')} refused" if refused else "")
    )


def _documents(records: Json) -> str:
    aside = number(records.get("setAside"))
    return (
        f"{number(records.get('documents')):,} of {plural(number(records.get('signers')), 'signer')},"
        f" {size(records.get('bytes'))}" + (f", {plural(aside, 'record')} set aside" if aside else "")
    )


def _wants(wants: Json) -> str:
    names = ("waiting", "fetching", "failed", "done")
    return ", ".join(f"{number(wants.get(name))} {name}" for name in names if wants.get(name)) or "none"


def _print_faults(faults: list[Json]) -> None:
    """The newest; all of them are in the JSON."""
    if not faults:
        return
    print_text("records that were not believed:")
    for each in faults[:_FAULTS_SHOWN]:
        signer = short(each.get("signer") or each.get("source", ""))
        document = f"{each.get('collection', '')}/{each.get('docId', '')}".strip("/")
        parts = [each.get("kind", ""), f"{number(each.get('count')):,} times", signer, document]
        print_text(f"{', '.join(part for part in parts if part)}: {each.get('detail', '')}", indent="  ")
    if len(faults) > _FAULTS_SHOWN:
        print_text(f"and {len(faults) - _FAULTS_SHOWN} more; -o json has all", indent="  ")
