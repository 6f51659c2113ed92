"""`python -m model.train --clips FOLDER...`: trains on clips held in memory, without store, Ray or Prefect.

For a first look and for one machine; the `train` flow reads data sets of any size. A folder holds WebDataset tars of
clips; what a clip is made of is `shards/codec.py`'s.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.training.clips import ListedClips, fitted
from model.training.config import RECIPES, recipe
from model.training.loop import StepReport, train
from shards.codec import decode_clip
from shards.errors import DubwrightError, RequestError
from shards.schema import ClipSample

log = logging.getLogger(__name__)


def clips_in(folder: Path) -> Iterator[ClipSample]:
    """Every clip of every tar below a folder, in the order of their names."""
    tars = sorted(folder.rglob("*.tar"))
    if not tars:
        raise RequestError("no tars of clips here", field="clips", value=str(folder))
    for path in tars:
        samples: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, extension = Path(member.name).name.partition(".")
                if (stream := tar.extractfile(member)) is not None:
                    samples.setdefault(key, {})[extension] = stream.read()
        for key, members in samples.items():
            yield decode_clip(key, members)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m model.train", description=__doc__)
    parser.add_argument("--clips", nargs="+", type=Path, required=True, help="folders of WebDataset tars")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder; the same command resumes")
    parser.add_argument("--preset", default="tiny", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--share", type=float, default=1.0, help="of the recipe's steps, for a quick try")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Exit code 0 done or stopped, 1 failed, 2 a wrong request."""
    asked = arguments(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = (
            recipe(asked.preset).scaled(asked.share).model_copy(update={"seed": asked.seed, "device": asked.device})
        )
        clips = [clip for folder in asked.clips for clip in clips_in(folder)]
        source = ListedClips(clips, seed=asked.seed)
        result = train(fitted(config, source.clips[0]), source, asked.out, on_step=_say)
    except DubwrightError as error:
        log.error("%s", error)
        return 2 if isinstance(error, RequestError) else 1
    log.info("%s: %s", "done" if result.finished else "stopped; the same command continues", result.folder)
    return 0


def _say(report: StepReport) -> None:
    if report.step % 50 and report.step != report.steps:
        return
    parts = ", ".join(f"{name} {value:.4f}" for name, value in report.parts.items())
    log.info("%s %d/%d: %s (%.2f s a step)", report.stage, report.step, report.steps, parts, report.seconds)


if __name__ == "__main__":
    sys.exit(main())
