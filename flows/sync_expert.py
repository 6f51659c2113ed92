"""The model's sync expert as a scorer of clips: how far sound and lips are apart, by a measure that was learned.

Preprocessing knows no model, so the two meet here. The expert is named by the digest of its files: units move with the
weights and not with their place, and a machine that has others is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from preprocessing.config import PreprocessConfig, SyncConfig
from shards.errors import RequestError
from shards.fingerprint import file_sha256, fingerprint
from shards.schema import ClipSample

FILES = ("sync.json", "sync.safetensors")
_FIELD = "sync.expert"


def pinned_expert(config: PreprocessConfig) -> SyncConfig:
    """The sync settings with the expert's place in full and its digest; refuses clips that it could not judge."""
    if config.sync.expert is None:
        return config.sync
    folder = Path(config.sync.expert).expanduser().resolve()
    digest = _checked_digest(folder, config.sync.expert_digest)
    _refuse_unjudged(config, folder)
    return config.sync.model_copy(update={"expert": str(folder), "expert_digest": digest})


def expert_scorer(config: PreprocessConfig) -> Callable[[ClipSample], Mapping[str, float]] | None:
    """The scorer of a worker, its weights loaded and checked; None where no expert is asked for."""
    if config.sync.expert is None:
        return None
    # Only here: torch takes seconds and hundreds of megabytes, and most runs have no expert.
    from model.batch import FRAME_S
    from model.sync import LEAST_WINDOWS, score_clip
    from model.training.sync import load_expert

    folder = Path(config.sync.expert)
    _checked_digest(folder, config.sync.expert_digest)
    expert = load_expert(folder)

    def score(clip: ClipSample) -> dict[str, float]:
        if num_windows(clip, expert.config.frames) < LEAST_WINDOWS:
            return {}
        found = score_clip(expert, clip)
        return {
            "sync_offset_s": found.offset_frames * FRAME_S,
            "sync_confidence": found.confidence,
            "sync_distance": found.distance,
        }

    return score


def num_windows(clip: ClipSample, frames: int) -> int:
    """Stretches of so many frames in all of which the face is seen."""
    seen = clip.landmarks.seen()
    return int(np.lib.stride_tricks.sliding_window_view(seen, frames).all(axis=1).sum()) if len(seen) >= frames else 0


def _checked_digest(folder: Path, wanted: str | None) -> str:
    """The digest of the expert's files; refuses another than `wanted`."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise RequestError(f"no sync expert here: {', '.join(missing)} missing", field=_FIELD, value=str(folder))
    found = fingerprint(*(file_sha256(folder / name) for name in FILES))
    if wanted is not None and wanted != found:
        raise RequestError(
            f"the sync expert there is {found[:12]}, the run was planned with {wanted[:12]}; put that one there",
            field=_FIELD,
            value=str(folder),
        )
    return found


def _refuse_unjudged(config: PreprocessConfig, folder: Path) -> None:
    """At the plan, and not once for each source: the expert judges one crop window, the mel, and 25 frames a second."""
    from model.batch import FRAME_S
    from model.training.sync import load_expert

    expert = load_expert(folder).config
    if config.crop.window != expert.window:
        raise RequestError(f"the sync expert looks at {expert.window!r}", field="crop.window", value=config.crop.window)
    if "mel" not in config.audio.features:
        raise RequestError("the sync expert hears `mel`; add it", field="audio.features", value=config.audio.features)
    if config.media.fps != round(1 / FRAME_S):
        raise RequestError(
            f"the sync expert judges {round(1 / FRAME_S)} frames a second", field="media.fps", value=config.media.fps
        )
