"""Packing's worker: one shard -> its samples copied from fragments into a committed tar."""

from __future__ import annotations

from shards.commit import Claim, Ledger, Receipt
from shards.shard import pack_shard
from shards.store import open_store


class PackWorker:
    """Holds the connection to the store."""

    def __init__(self, store_uri: str) -> None:
        self._store_uri = store_uri

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))

    def process(self, item: Claim) -> Receipt:
        return pack_shard(self._ledger, item)

    def close(self) -> None:
        """Nothing is held that does not go with the process."""
