"""Serving HTTP: sockets of our own with hypercorn's HTTP/1.1 and HTTP/2 on them, and the types of ASGI.

It knows no application: what is served, and who may ask for it, is told by the faces above.
"""

from peat_sidecar.http.asgi import App, Message, Receive, Scope, Send, header
from peat_sidecar.http.hosts import KnownHosts
from peat_sidecar.http.server import Listener, Server, tls_context
from peat_sidecar.http.sockets import listen

__all__ = [
    "App",
    "KnownHosts",
    "Listener",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "Server",
    "header",
    "listen",
    "tls_context",
]
