"""Puts a checkpoint into the package: `python -m tests.support.ship CHECKPOINT STORE` (the last step of its recipe).

What ships is what is measured: the weights are halved first, then judged on people they were not trained on, and the
card is written with those figures, the missed ones first among its limits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.cluster.config import EngineConfig
from flows.evaluate import judge_clips, plan_evaluation, report_evaluation
from flows.evaluation.config import EvaluationConfig
from flows.voice import SHIPPED
from model.pipeline import DubbingPipeline
from shards.errors import RequestError
from shards.index import DatasetInfo
from shards.reader import open_dataset
from shards.store import open_store

TARGET = Path(__file__).parents[2] / "model" / SHIPPED
LARGEST_MB = 40
LEAST_HELD_OUT = 0.15
"""Share of the identities."""
SOURCES = (
    "GRID (CC BY 4.0; M. Cooke, J. Barker, S. Cunningham, X. Shao, 2006); news clips of LRC-AR and mixed demonstration"
    " footage, the rights of neither cleared; generated talking faces by the project's own sample generator. It hears"
    " through `ear`, which learned elsewhere: Whisper tiny (MIT) as Smart Turn v3.2 tuned it (BSD 2-Clause)"
)
RECIPE = "`make train-compact`, which goes on from these weights: every stage by `dubwright train --preset compact`."
LIMITS = (
    "For evaluation only: the rights of the news clips and of the demonstration footage itself were not cleared. A"
    " team trains its own on its own footage with one command: `dubwright train --store STORE --out DIR`."
)


EXPERIMENTS = "The paper's first three experiments"


def ship(
    checkpoint: Path, store: str, report: Path, target: Path, config: EvaluationConfig, experiments: str | None = None
) -> str:
    """Halves, judges, writes `target` in one move; returns the digest. Nothing is replaced when anything is refused.

    `experiments` is what `make experiments` told; without it the card keeps what it said of them.
    """
    info = open_dataset(open_store(store, create=False)).info
    _need_held_out(info)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ship-", dir=target.parent) as work:
        halved, ready = Path(work, "halved"), Path(work, "ready")
        DubbingPipeline.from_pretrained(checkpoint).save_pretrained(halved, half=True)
        _need_small(halved)
        card = _judged(halved, store, report, config)
        pipe = DubbingPipeline.from_pretrained(halved)
        told = experiments if experiments is not None else _told_before(target)
        digest = pipe.save_pretrained(ready, card=about(info, card) | ({EXPERIMENTS: told} if told else {}), half=True)
        if target.exists():
            os.replace(target, Path(work, "before"))
        os.replace(ready, target)
    return digest


def about(info: DatasetInfo, card: Mapping[str, Any]) -> dict[str, str]:
    """The model card's sections, from the dataset and the scorecard."""
    people, held = sum(info.identities_by_split.values()), _held_out(info)
    counted = f"{info.hours:.1f} h in {info.num_samples:,} clips of {people} identities, {held} never trained on"
    licences = [f"- {name}: {60 * hours:.0f} min" for name, hours in sorted(info.hours_by_licence.items())]
    return {
        "data": f"{SOURCES}. {counted}",
        "recipe": RECIPE,
        "figures": "\n".join(figures(card)),
        "limits": " ".join([LIMITS, *missed(card["goals"])]),
        "Licences, as the list of sources says": "\n".join(licences) or "Not recorded.",
    }


def figures(card: Mapping[str, Any]) -> list[str]:
    """The goals with what was reached, and the baselines beside them."""
    splits, mean = " and ".join(card["config"]["splits"]), _means(card["summary"])
    told = [
        f"{card['clips']} clips of {card['identities']} identities that were not trained on ({splits} of dataset"
        f" `{card['dataset'][:12]}`), each dubbed with its own speech turned round by half its length, so that the true"
        " motion is known; landmarks found again in the generated frames. Means over clips.",
        "",
        "| figure | reached | wanted |",
        "|---|---|---|",
    ]
    told += [f"| {goal['name']} | {_number(goal['value'])} | {goal['wanted']} |" for goal in card["goals"]]
    told += [
        "",
        f"Lip distance in eye distances: generated {mean('made.lips')}, undubbed source {mean('undubbed.lips')},"
        f" a still neutral mouth {mean('neutral.lips')}, and the true mouth itself, carried by the dub's head,"
        f" {mean('carried.lips')}: crops keep how a head turns. Completion alone: distance {mean('asked.lips')},"
        f" correlation {mean('asked.correlation')}. Reconstruction with the own speech: distance {mean('own.lips')},"
        f" correlation {mean('own.correlation')}, PSNR of the generated region {mean('own.psnr_mask_db')} dB,"
        f" SSIM around the lips {mean('own.ssim_mouth')}.",
    ]
    return told


def note(experiments: str, target: Path) -> str:
    """Writes them into the card of what ships; weights and figures stay."""
    pipe = DubbingPipeline.from_pretrained(target)
    with tempfile.TemporaryDirectory(prefix=".ship-", dir=target.parent) as work:
        digest = pipe.save_pretrained(Path(work, "ready"), card=pipe.card | {EXPERIMENTS: experiments}, half=True)
        os.replace(target, Path(work, "before"))
        os.replace(Path(work, "ready"), target)
    return digest


def _told_before(target: Path) -> str | None:
    return DubbingPipeline.from_pretrained(target).card.get(EXPERIMENTS) if (target / "config.json").exists() else None


def missed(goals: Sequence[Mapping[str, Any]]) -> list[str]:
    listed = [f"{goal['name']} ({_number(goal['value'])})" for goal in goals if goal["reached"] != "yes"]
    return [f"Aimed at and not reached: {', '.join(listed)}."] if listed else []


def _judged(folder: Path, store: str, report: Path, config: EvaluationConfig) -> dict[str, Any]:
    plan = plan_evaluation.fn(str(folder), store, None, config)
    verdicts = judge_clips.fn(plan, report, EngineConfig(max_workers=1), "none")
    card: dict[str, Any] = report_evaluation.fn(plan, verdicts, report)
    return card


def _need_held_out(info: DatasetInfo) -> None:
    people, held = sum(info.identities_by_split.values()), _held_out(info)
    if held < LEAST_HELD_OUT * people:
        raise RequestError(
            f"{held} of {people} identities are held out; at least {LEAST_HELD_OUT:.0%} are needed for figures that"
            " mean something: pack with larger val_share and test_share",
            field="store",
        )


def _need_small(folder: Path) -> None:
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    if size_mb > LARGEST_MB:
        raise RequestError(f"{size_mb:.1f} MB; what ships has at most {LARGEST_MB} MB", field="checkpoint")


def _held_out(info: DatasetInfo) -> int:
    return sum(info.identities_by_split.get(split, 0) for split in ("val", "test"))


def _means(summary: Mapping[str, Mapping[str, float]]) -> Any:
    return lambda name: _number(summary[name]["mean"] if name in summary else None)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="judge a checkpoint and put it into the package")
    parser.add_argument("checkpoint", type=Path, help="the folder that ships itself: only the experiments are noted")
    parser.add_argument("store")
    parser.add_argument("--experiments", type=Path, help="experiments.md of `make experiments`")
    parser.add_argument("--report", type=Path, default=Path("runs/ship"), help="folder of the scorecard")
    parser.add_argument("--limit", type=int, help="judge only so many clips")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    config = EvaluationConfig(limit=given.limit, device=given.device)
    experiments = given.experiments.read_text(encoding="utf-8") if given.experiments is not None else None
    if experiments is not None and given.checkpoint.resolve() == TARGET.resolve():
        digest = note(experiments, TARGET)
    else:
        digest = ship(given.checkpoint, given.store, given.report, TARGET, config, experiments)
    print(f"{TARGET}\n{(TARGET / 'README.md').read_text(encoding='utf-8')}\ndigest {digest}")


if __name__ == "__main__":
    main()
