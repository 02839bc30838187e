"""The commands `sync`, `sync start` and `sync stop`."""

from peat_sidecar.cli.printing import number, plural, print_json, print_pairs, print_text, size
from peat_sidecar.cli.session import Session, asks_daemon


@asks_daemon
def status(session: Session) -> None:
    """Shows whether documents are exchanged with peers, and what that took."""
    answer = session.client.call("GetSyncStats")
    if session.as_json:
        print_json(answer)
        return
    print_pairs(
        [
            ("exchange", "active" if answer.get("syncActive") else "not active"),
            ("with", plural(number(answer.get("connectedPeers")), "peer")),
            ("sent", size(answer.get("bytesSent"))),
            ("received", size(answer.get("bytesReceived"))),
        ]
    )


@asks_daemon
def start(session: Session) -> None:
    """Exchanges documents with peers, as a daemon does from its start."""
    answer = session.client.call("StartSync")
    print_json(answer) if session.as_json else print_text("documents are exchanged from now on")


@asks_daemon
def stop(session: Session) -> None:
    """Neither sends nor takes documents until `sync start`; peers stay connected."""
    answer = session.client.call("StopSync")
    print_json(answer) if session.as_json else print_text("documents are not exchanged any more")
