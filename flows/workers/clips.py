"""What the workers that cut clips have in common: the store's records, and tools that are loaded once."""

from __future__ import annotations

from typing import Any

from flows.sync_expert import expert_scorer
from preprocessing.clip import ClipTools
from preprocessing.config import PreprocessConfig
from shards.commit import Ledger
from shards.store import open_store


class ClipWorker:
    """Base of `ExtractWorker` and `AnalyseWorker`."""

    def __init__(self, store_uri: str, config: dict[str, Any]) -> None:
        self._store_uri = store_uri
        self._config = PreprocessConfig.model_validate(config)

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._tools = ClipTools(self._config, scorer=expert_scorer(self._config))
        self._tools.setup()

    def close(self) -> None:
        self._tools.close()
