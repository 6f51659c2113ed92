"""Evaluation's worker: one held-out clip -> its figures and its pictures. Loads the model and the judge once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.evaluation.config import EvaluationConfig
from flows.evaluation.judge import Judge
from flows.evaluation.measures import Figures
from flows.evaluation.pictures import jpeg, strip
from model.pipeline import DubbingPipeline
from shards.errors import RequestError
from shards.reader import open_dataset
from shards.store import open_store


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipVerdict:
    """What is told of one clip."""

    key: str
    frames: int
    figures: Figures
    strip: bytes
    """JPEG: source, truth, generated."""
    strip_with_landmarks: bytes
    left_out: str = ""
    """Why it could not be judged; then there are no figures."""


class EvaluateWorker:
    """The model and what judges it."""

    def __init__(self, checkpoint: str, store_uri: str, dataset: str, config: Mapping[str, Any]) -> None:
        self._checkpoint, self._store_uri, self._dataset = checkpoint, store_uri, dataset
        self._config = EvaluationConfig.model_validate(config)

    def setup(self) -> None:
        self._clips = open_dataset(open_store(self._store_uri, create=False), self._dataset)
        self._pipe = DubbingPipeline.from_pretrained(self._checkpoint, device=self._config.device)
        self._judge = Judge(self._config)
        self._judge.setup()

    def process(self, item: str) -> ClipVerdict:
        clip = self._clips.read(item)
        try:
            judged = self._judge.judge(self._pipe, clip)
        except RequestError as error:
            # A clip too short to be turned round is no reason to lose the others; the scorecard counts it.
            return ClipVerdict(
                key=item, frames=len(clip.frames), figures={}, strip=b"", strip_with_landmarks=b"", left_out=str(error)
            )
        return ClipVerdict(
            key=item,
            frames=len(judged.clip.frames),
            figures=judged.figures,
            strip=jpeg(strip(judged, landmarks=False)),
            strip_with_landmarks=jpeg(strip(judged, landmarks=True)),
        )

    def close(self) -> None:
        self._judge.close()
