"""The verdicts of an evaluation in its folder: what is there already is not made again, and the page is made of it.

clips/{key}.json    the figures, and what they were made by
clips/{key}.jpg     source, truth, generated; {key}.landmarks.jpg the same with the faces drawn on
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from flows.workers.evaluate import ClipVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """The folder of one evaluation; verdicts of another checkpoint, dataset or setting do not count."""

    folder: Path
    made_by: str

    def write(self, verdict: ClipVerdict) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, data in (
            (self._strip(verdict.key, False), verdict.strip),
            (self._strip(verdict.key, True), verdict.strip_with_landmarks),
        ):
            path.write_bytes(data)
        told = {"made_by": self.made_by, "frames": verdict.frames, "figures": verdict.figures}
        # Last and in one move: where it is, the pictures are.
        part = self._json(verdict.key).with_suffix(".part")
        part.write_text(json.dumps(told | {"left_out": verdict.left_out}), encoding="utf-8")
        os.replace(part, self._json(verdict.key))

    def read(self, key: str) -> ClipVerdict | None:
        """What is known of the clip; None where it has to be judged."""
        try:
            told = json.loads(self._json(key).read_text(encoding="utf-8"))
            strips = [self._strip(key, landmarks).read_bytes() for landmarks in (False, True)]
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if told.pop("made_by") != self.made_by:
            return None
        return ClipVerdict(key=key, strip=strips[0], strip_with_landmarks=strips[1], **told)

    def _json(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _strip(self, key: str, landmarks: bool) -> Path:
        return self.folder / f"{key}{'.landmarks' if landmarks else ''}.jpg"
