"""Where file contents live: `base.py` says what a store must do, one module a store, this list names them."""

from baas.infra.blobs.disk import DiskStore

STORES = (DiskStore,)
