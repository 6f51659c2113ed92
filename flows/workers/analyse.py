"""Dubbing's first worker: a title's picture -> its analysis, who speaks in it, its face crops; once for every language.

The crops are kept as ordinary clips, so rendering a language reads no video at all.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from flows.workers.clips import ClipWorker
from flows.workers.fragments import extract, need_planned, original_speech
from preprocessing.analysis import encode_analysis
from preprocessing.errors import Unusable
from preprocessing.faces.base import Analysis
from preprocessing.media.base import FrameSource, MediaInfo
from preprocessing.media.decode import FfmpegSource
from preprocessing.media.gops import read_structure
from preprocessing.media.probe import probe
from preprocessing.speakers.evidence import listen
from shards.commit import Claim, Receipt
from shards.fingerprint import plain
from shards.schema import Rejection, Speech

ANALYSIS_SUFFIX = ".analysis"


class AnalyseWorker(ClipWorker):
    """Loads the landmark backend once, then analyses titles."""

    def process(self, item: Claim) -> Receipt:
        """Commits (fragment of clips if any face was found, analysis); the picture itself is never refused here."""
        payload = item.unit.payload
        path = Path(payload["video"])
        need_planned(path, payload["video_sha256"])
        info = probe(path)
        source = FfmpegSource(path, info)
        with tempfile.TemporaryDirectory(prefix="dubwright-analyse-") as scratch:
            try:
                speech, unheard = self._sound(path, info, source)
                extracted = extract(
                    source,
                    speech,
                    self._tools,
                    self._config,
                    source_sha256=payload["video_sha256"],
                    source_name=path.name,
                    code_version=payload["code_version"],
                    out=Path(scratch, "fragment.tar"),
                )
            finally:
                source.close()
            encoded = Path(scratch, "analysis.bin")
            encoded.write_bytes(encode_analysis(_listened(extracted.analysis, speech)))
            objects = [self._ledger.put_object(item, encoded, ANALYSIS_SUFFIX)]
            if extracted.fragment is not None:
                objects.insert(0, self._ledger.put_object(item, extracted.fragment.path, ".tar"))
        return self._ledger.commit(
            item,
            Receipt(
                unit_id=item.unit.unit_id,
                stage=item.unit.stage,
                objects=tuple(objects),
                samples=extracted.fragment.entries if extracted.fragment else (),
                rejections=(*unheard, *extracted.rejections),
                details={
                    "frames": len(extracted.analysis.times),
                    "shots": len(extracted.analysis.shots),
                    # Where the title's clock begins: the new speech starts with the first frame.
                    "zero_s": plain(source.times.at(0).seconds),
                    "structure": read_structure(path, info, source.times).plain(),
                },
            ),
        )

    def _sound(self, path: Path, info: MediaInfo, source: FrameSource) -> tuple[Speech | None, list[Rejection]]:
        """The title's own sound, which is only measured: one that cannot be read does not keep it from being dubbed."""
        try:
            return original_speech(path, info, source, self._config.media.audio_rate_hz), []
        except Unusable as unusable:
            return None, [dataclasses.replace(unusable.rejection, code="own_sound")]


def _listened(analysis: Analysis, speech: Speech | None) -> Analysis:
    """The analysis with what the title's own sound says of who speaks."""
    if speech is None or not analysis.shots:
        return analysis
    heard = listen([aligned.track for aligned in analysis.tracks], analysis.times, speech)
    return dataclasses.replace(analysis, heard=heard)
