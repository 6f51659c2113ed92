"""`dubwright ...`: reads arguments, calls a flow, prints. Nothing else; and nothing heavy is imported to print help.

The exit codes are in `answer.py`, `dubwright store ...` is `cli_store.py`'s.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.answer import EXIT_STRICT, EXIT_SYSTEM, AsJson, DryRun, answering, lines
from flows.cli_store import store_app
from flows.embedded import prefect_api
from flows.settings import settings

app = typer.Typer(
    name="dubwright",
    help="Dubs video catalogues so that lips match the new speech; prepares the data and trains the model for it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(store_app, name="store")

Address = Annotated[
    str, typer.Option(help="where work runs: local (a Ray of our own), auto (a Ray that is there), none (a plain loop)")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with settings; see --dry-run for all of them")]
Store = Annotated[str, typer.Option(help="folder or URI of the store")]


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="where to write the catalogue")],
    titles: Annotated[int, typer.Option(min=1, help="how many talking faces")] = 1,
    seed: int = 0,
) -> None:
    """Make a sample catalogue: talking faces with known mouth motion, and new speech for them."""
    with answering(False) as answer:
        from preprocessing.sample.catalogue import make_sample

        path = make_sample(directory, titles=titles, seed=seed)
        answer({"catalogue": str(path)}, f"{path}\nDub it: dubwright dub {path} --out out")


@app.command()
def preprocess(
    sources: Annotated[
        list[str], typer.Argument(help="files, folders, globs, lists (CSV, JSONL, Parquet), s3:// gs:// az://")
    ],
    store: Store,
    config: ConfigFile = None,
    limit: Annotated[int | None, typer.Option(min=1, help="take only the first so many sources")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option(help="exit with 4 when anything was rejected or quarantined")] = False,
    address: Address = "local",
) -> None:
    """Prepare a dataset from footage."""
    with answering(as_json, resumes=True) as answer:
        from flows import preprocess as flow

        where = checked(address)
        job = settings(flow.PreprocessJob, config, limit=limit)
        if dry_run:
            answer(plan := flow.dry_run(sources, store, job), lines(plan, without=("config",)))
            return
        if (summary := flow.unchanged(sources, store, job)) is None:
            with prefect_api():
                summary = flow.preprocess(sources, store, job, where)
        answer(summary, lines(summary))
        if strict and (summary["rejected"] or summary["quarantined"]):
            raise typer.Exit(EXIT_STRICT)


@app.command()
def train(
    store: Store,
    out: Annotated[str, typer.Option(help="folder or s3:// of the checkpoint; an unfinished one is continued")],
    preset: Annotated[str, typer.Option(help="tiny, compact, base or large")] = "compact",
    dataset: Annotated[str | None, typer.Option(help="hash of the dataset; the newest by default")] = None,
    config: ConfigFile = None,
    workers: Annotated[int, typer.Option(min=1, help="processes that share each step")] = 1,
    min_workers: Annotated[int | None, typer.Option(min=1, help="go on with so few while machines are missing")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    address: Address = "local",
) -> None:
    """Train a model on a dataset, or go on with a training that was stopped."""
    with answering(as_json, resumes=True) as answer:
        from flows import train as flow
        from model.training.config import recipe

        where = checked(address)
        recipe_ = settings(type(recipe(preset)), config, base=recipe(preset).model_dump())
        if dry_run:
            plan = flow.dry_run(store, out, preset, dataset, recipe_)
            answer(plan, lines(plan, without=("config",)))
            return
        with prefect_api():
            summary = flow.train(
                store, out, preset, dataset, recipe_, address=where, workers=workers, min_workers=min_workers
            )
        answer(summary, lines(summary))


@app.command()
def dub(
    manifest: Annotated[str, typer.Argument(help="the catalogue: CSV, JSON Lines or Parquet, one row per output")],
    out: Annotated[str, typer.Option(help="folder of the finished titles and the report")] = "out",
    checkpoint: Annotated[str | None, typer.Option(help="model folder; the one that ships by default")] = None,
    only: Annotated[list[str] | None, typer.Option(help="dub only this title; may be given again")] = None,
    config: ConfigFile = None,
    max_gpu_hours: Annotated[
        float | None, typer.Option(help="begin no more rendering once renderers ran so long; the same command goes on")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace files of the outputs' names that no run here made")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option(help="exit with 4 when a title did not succeed without flags")] = False,
    address: Address = "local",
) -> None:
    """Dub a catalogue. The same command goes on where the last one stopped."""
    with answering(as_json, resumes=True) as answer:
        from flows.manifest import read_catalogue

        # What is wrong in the catalogue itself is said at once, before any engine is imported or started.
        read_catalogue(Path(manifest))
        where = checked(address)
        from flows import dub as flow
        from flows.dubbing.config import DubConfig

        job = settings(DubConfig, config, max_gpu_hours=max_gpu_hours)
        if dry_run:
            plan = flow.dry_run(manifest, out, checkpoint, only, job, overwrite=overwrite)
            answer(plan, lines(plan, without=("rows", "config")))
            return
        if (report := flow.unchanged(manifest, out, checkpoint, only, job, overwrite=overwrite)) is None:
            with prefect_api():
                report = flow.dub(manifest, out, checkpoint, only, job, where, overwrite)
        answer(report, _dubbed(report))
        if any(status.startswith("failed") for status in report["titles"]):
            raise typer.Exit(EXIT_SYSTEM)
        if strict and set(report["titles"]) - {"succeeded", "up_to_date"}:
            raise typer.Exit(EXIT_STRICT)


@app.command()
def evaluate(
    store: Store,
    out: Annotated[Path, typer.Option(help="folder of the scorecard; an unfinished one is continued")],
    checkpoint: Annotated[str | None, typer.Option(help="model folder; the one that ships by default")] = None,
    dataset: Annotated[str | None, typer.Option(help="hash of the dataset; the newest by default")] = None,
    split: Annotated[str | None, typer.Option(help="held-out clips, by commas; val,test by default")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="judge so many clips, of as many people as fit")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="sampling steps; 4 by default")] = None,
    expert: Annotated[str | None, typer.Option(help="folder of a sync expert, which then judges the timing")] = None,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    address: Address = "local",
) -> None:
    """Judge a model on clips it was not trained on: a scorecard, with pictures."""
    with answering(as_json, resumes=True) as answer:
        from flows import evaluate as flow
        from flows.evaluation.config import EvaluationConfig

        where = checked(address)
        splits = split.split(",") if split else None
        job = settings(EvaluationConfig, config, splits=splits, limit=limit, steps=steps, expert=expert)
        if dry_run:
            plan = flow.dry_run(checkpoint, store, str(out), dataset, job)
            answer(plan, lines(plan, without=("config",)))
            return
        with prefect_api():
            card = flow.evaluate(checkpoint, store, str(out), dataset, job, address=where)
        answer(card, _judged(card))


@app.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(help="FILE, FILE.tar, CHECKPOINT, STORE, STORE@HASH, STORE#KEY, STORE#UNIT, STORE#objects/..."),
    ],
    picture: Annotated[Path | None, typer.Option(help="of a clip: write a picture here (PNG)")] = None,
    video: Annotated[Path | None, typer.Option(help="of a clip: write a short video here (MP4)")] = None,
    page: Annotated[Path | None, typer.Option(help="of a dataset: write its page here (HTML)")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what something is: a title, a shard, a store, a dataset, a clip, a unit of work, a checkpoint."""
    with answering(as_json) as answer:
        from flows.explain.target import Outputs
        from flows.explain.target import inspect as look
        from flows.explain.words import told

        found = look(target, Outputs(picture=picture, video=video, page=page))
        answer(found, told(found))


# -- what all commands share -------------------------------------------------------------------------------------------


def checked(address: str) -> str:
    """The address, or a refusal before any work is done."""
    from flows.cluster.engine import ADDRESSES
    from shards.errors import RequestError

    if address not in ADDRESSES:
        raise RequestError("no such engine", field="--address", value=address, choices=ADDRESSES)
    return address


def _judged(card: dict[str, Any]) -> str:
    told = [f"{card['clips']} clips of {card['identities']} identities in {card['seconds']:.0f} s", ""]
    for goal in card["goals"]:
        value = "-" if goal["value"] is None else f"{goal['value']:.3g}"
        told.append(f"{goal['name']}: {value} (wanted {goal['wanted']}): {goal['reached']}")
    told += [f"not judged: {key}: {why}" for key, why in card["left_out"].items()]
    return "\n".join([*told, "", f"page: {card['page']}", f"figures: {card['scorecard']}"])


def _dubbed(report: dict[str, Any]) -> str:
    counts = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in report["titles"].items())
    lines = [f"{counts} in {report['seconds']:.0f} s", "", f"model: {report['model']}", "", "videos:"]
    lines += [f"  {path}" for path in report["outputs"]]
    lines += [f"  {row['output']}: {row['reason']}" for row in report["rows"] if row["reason"]]
    return "\n".join([*lines, f"report: {report['report']}"])


def main() -> None:
    status: object = 0
    try:
        app()
    except SystemExit as ended:
        status = ended.code
    _leave(status if isinstance(status, int) else EXIT_SYSTEM if status else 0)


def _leave(status: int) -> NoReturn:
    """Python's own last work, then out at once.

    Threads inside native libraries that are torn down with the interpreter now and then abort a process that has done
    all it was asked ("terminate called without an active exception"), and its exit status with it.
    """
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
