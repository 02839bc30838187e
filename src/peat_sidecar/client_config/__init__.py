"""The configuration of registry clients on this machine that makes them pull through the sidecar.

What is written can be taken back, exactly; what others wrote is kept, or set aside and put back.
"""

from peat_sidecar.client_config.clients import Client, client
from peat_sidecar.client_config.mirror import DEFAULT_ENDPOINT, Mirror

__all__ = ["DEFAULT_ENDPOINT", "Client", "Mirror", "client"]
