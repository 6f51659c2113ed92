"""Preprocessing's worker: one unit (a source, or a span of it) -> clips in a committed fragment."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from flows.workers.fragments import Extracted, extract, need_planned, original_speech
from preprocessing.clip import ClipTools
from preprocessing.config import PreprocessConfig
from preprocessing.errors import Unusable
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe
from shards.commit import Claim, Ledger, Receipt, Unit
from shards.schema import Rejection
from shards.store import open_store

log = logging.getLogger(__name__)


class ExtractWorker:
    """Loads the landmark backend once, then works off units."""

    def __init__(self, store_uri: str, config: dict[str, Any]) -> None:
        self._store_uri = store_uri
        self._config = PreprocessConfig.model_validate(config)

    def setup(self) -> None:
        self._ledger = Ledger(open_store(self._store_uri, create=False))
        self._tools = ClipTools(self._config)
        self._tools.setup()

    def process(self, item: Claim) -> Receipt:
        """Commits the unit, with clips or with the reasons why there are none, and returns the winning receipt."""
        with tempfile.TemporaryDirectory(prefix="dubwright-extract-") as scratch:
            try:
                extracted = self._extract(item.unit, Path(scratch, "fragment.tar"))
            except Unusable as unusable:
                return self._ledger.commit(item, _rejected(item.unit, unusable.rejection))
            return self._commit(item, extracted)

    def close(self) -> None:
        self._tools.close()

    def _extract(self, unit: Unit, out: Path) -> Extracted:
        payload = unit.payload
        path, media = Path(payload["path"]), self._config.media
        need_planned(path, payload["sha256"])
        info = probe(path)
        source = FfmpegSource.normalised(path, info, fps=media.fps, max_side_px=media.max_side_px)
        try:
            speech = original_speech(path, info, source, media.audio_rate_hz)
            if speech is None and self._config.on_missing_speech == "reject":
                raise Unusable.because("no_audio", f"{path.name} has no sound track to learn from")
            return extract(
                source,
                speech,
                self._tools,
                self._config,
                source_sha256=payload["sha256"],
                source_name=payload["name"],
                code_version=payload["code_version"],
                out=out,
            )
        finally:
            source.close()

    def _commit(self, claim: Claim, extracted: Extracted) -> Receipt:
        fragment, analysis = extracted.fragment, extracted.analysis
        return self._ledger.commit(
            claim,
            Receipt(
                unit_id=claim.unit.unit_id,
                stage=claim.unit.stage,
                objects=(self._ledger.put_object(claim, fragment.path, ".tar"),) if fragment else (),
                samples=fragment.entries if fragment else (),
                rejections=extracted.rejections,
                details={"frames": len(analysis.times), "shots": len(analysis.shots), "tracks": len(analysis.tracks)},
            ),
        )


def _rejected(unit: Unit, rejection: Rejection) -> Receipt:
    return Receipt(unit_id=unit.unit_id, stage=unit.stage, objects=(), samples=(), rejections=(rejection,), details={})
