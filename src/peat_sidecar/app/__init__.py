"""The daemon: built from settings, run until it is told to stop, taken down in order."""

from peat_sidecar.app.daemon import run, serve

__all__ = ["run", "serve"]
