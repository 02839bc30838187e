"""peat-sidecar: carries OCI packages between edge clusters, peer to peer over Iroh."""

__version__ = "0.1.0"
