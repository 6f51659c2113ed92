"""`python -m model.train --store URI` or `--clips FOLDER...`: the training loop without Ray or Prefect.

For one process, or for several that `torchrun` joins (`torchrun --nproc-per-node 4 -m model.train ...`); the `train`
flow has Ray start and watch them. `--store` reads a published dataset as the flow does. `--clips` holds clips in
memory, for a first look: folders of WebDataset tars; what a clip is made of is `shards/codec.py`'s.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from model.training.clips import ClipSource, DatasetClips, ListedClips, fitted
from model.training.config import RECIPES, TrainConfig, recipe
from model.training.loop import StepReport, train
from model.training.world import joined
from shards.codec import decode_clip
from shards.errors import DubwrightError, RequestError
from shards.reader import open_dataset
from shards.schema import ClipSample
from shards.store import open_store

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
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", help="store with a published dataset: a folder or s3://..., gs://..., az://...")
    source.add_argument("--clips", nargs="+", type=Path, help="folders of WebDataset tars")
    parser.add_argument("--dataset", help="hash of the store's dataset; the newest by default")
    parser.add_argument("--out", required=True, help="folder or bucket of the checkpoint; the same command resumes")
    parser.add_argument("--preset", default="tiny", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: each process takes its own")
    parser.add_argument("--parallel", default="ddp", choices=("ddp", "fsdp"), help="how several processes hold weights")
    parser.add_argument("--share", type=float, default=1.0, help="of the recipe's steps, for a quick try")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Exit code 0 done or stopped, 1 failed, 2 a wrong request."""
    asked = arguments(given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        update = {"seed": asked.seed, "device": asked.device, "parallel": asked.parallel}
        config = recipe(asked.preset).scaled(asked.share).model_copy(update=update)
        with joined(config.device) as world:
            source, first = _source(asked, config)
            result = train(fitted(config, first), source, asked.out, on_step=_say, world=world)
    except DubwrightError as error:
        log.error("%s", error)
        return 2 if isinstance(error, RequestError) else 1
    if world.is_main:
        log.info("%s: %s", "done" if result.finished else "stopped; the same command continues", result.folder)
    return 0


def _source(asked: argparse.Namespace, config: TrainConfig) -> tuple[ClipSource, ClipSample]:
    """The clips, and the first of them, which speaks for all."""
    if asked.store is None:
        listed = ListedClips([clip for folder in asked.clips for clip in clips_in(folder)], seed=asked.seed)
        return listed, listed.clips[0]
    dataset = open_dataset(open_store(asked.store, create=False), asked.dataset)
    source = DatasetClips(dataset, seed=asked.seed, selection=config.selection, workers=config.readers)
    return source, dataset.read(dataset.keys("train")[0])


def _say(report: StepReport) -> None:
    if report.step % 50 and report.step != report.steps:
        return
    parts = ", ".join(f"{name} {value:.4f}" for name, value in report.parts.items())
    waiting = report.waited_s / report.seconds
    log.info(
        "%s %d/%d: %s (%.1f clips a second, %.0f%% waiting for data)",
        *(report.stage, report.step, report.steps, parts, report.samples_per_s, 100 * waiting),
    )


if __name__ == "__main__":
    sys.exit(main())
