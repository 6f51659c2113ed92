"""Preprocessing's worker: one source -> clips in a committed fragment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.sources.base import is_remote
from flows.workers.clips import ClipWorker
from flows.workers.fragments import Extracted, extract, need_planned, original_speech
from flows.workers.staging import StagingConfig, staged
from preprocessing.errors import Unusable
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.probe import probe_with_times
from shards.commit import Claim, Receipt, Unit
from shards.schema import Rejection


class ExtractWorker(ClipWorker):
    """Loads the landmark backend once, then works off units."""

    def __init__(self, store_uri: str, config: dict[str, Any], staging: StagingConfig | None = None) -> None:
        super().__init__(store_uri, config)
        self._staging = staging or StagingConfig()

    def process(self, item: Claim) -> Receipt:
        """Commits the unit, with clips or with the reasons why there are none, and returns the winning receipt."""
        with tempfile.TemporaryDirectory(prefix="dubwright-extract-") as scratch:
            try:
                with self._local(item.unit.payload) as path:
                    extracted = self._extract(item.unit, path, Path(scratch, "fragment.tar"))
            except Unusable as unusable:
                return self._ledger.commit(item, _rejected(item.unit, unusable.rejection))
            return self._commit(item, extracted)

    @contextmanager
    def _local(self, payload: Mapping[str, Any]) -> Iterator[Path]:
        """The planned content as a file of this machine."""
        if is_remote(payload["path"]):
            with staged(payload["path"], payload["sha256"], payload["size_bytes"], self._staging) as path:
                yield path
        else:
            path = Path(payload["path"])
            need_planned(path, payload["sha256"])
            yield path

    def _extract(self, unit: Unit, path: Path, out: Path) -> Extracted:
        payload, media = unit.payload, self._config.media
        info, times = probe_with_times(path)
        source = FfmpegSource.normalised(path, info, times=times, fps=media.fps, max_side_px=media.max_side_px)
        try:
            speech = original_speech(path, info, source, media.audio_rate_hz)
            if speech is None and self._config.on_missing_speech == "reject":
                raise Unusable.because("no_audio", f"{payload['name']} has no sound track to learn from")
            return extract(
                source,
                speech,
                self._tools,
                self._config,
                source_sha256=payload["sha256"],
                source_name=payload["name"],
                code_version=payload["code_version"],
                language=payload.get("language"),
                identity=payload.get("identity"),
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
                details={"frames": len(analysis.times), "shots": len(analysis.shots), "tracks": len(analysis.tracks)}
                | _said(claim.unit),
            ),
        )


def _rejected(unit: Unit, rejection: Rejection) -> Receipt:
    return Receipt(unit_id=unit.unit_id, stage=unit.stage, rejections=(rejection,), details=_said(unit))


def _said(unit: Unit) -> dict[str, Any]:
    """What was said of the source when it was read, and changes nothing in its clips."""
    return {name: unit.payload[name] for name in ("licence", "meta") if name in unit.payload}
