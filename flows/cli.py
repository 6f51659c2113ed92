"""`dubwright ...`: reads arguments, calls a flow, prints. Nothing else; and nothing heavy is imported to print help.

Exit codes: 0 done (rejections are reported, they are no failures; `--strict` makes them 4), 1 the system failed,
2 the request was wrong, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from flows.embedded import prefect_api, use_embedded_defaults
from flows.settings import settings

app = typer.Typer(
    name="dubwright",
    help="Dubs video catalogues so that lips match the new speech; prepares the data and trains the model for it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
store_app = typer.Typer(help="What is done, rejected and quarantined in a store.", no_args_is_help=True)
app.add_typer(store_app, name="store")

Address = Annotated[
    str, typer.Option(help="where work runs: local (a Ray of our own), auto (a Ray that is there), none (a plain loop)")
]
AsJson = Annotated[bool, typer.Option("--json", help="the last line of stdout is one JSON object")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="show the plan and change nothing")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML with settings; see --dry-run for all of them")]
Store = Annotated[str, typer.Option(help="folder or URI of the store")]

log = logging.getLogger(__name__)
EXIT_SYSTEM, EXIT_REQUEST, EXIT_STRICT, EXIT_STOPPED = 1, 2, 4, 130


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
    sources: Annotated[list[str], typer.Argument(help="files, folders, globs")],
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
            answer(plan := flow.dry_run(sources, store, job), _lines(plan, without=("config",)))
            return
        with prefect_api():
            summary = flow.preprocess(sources, store, job, where)
        answer(summary, _lines(summary))
        if strict and (summary["rejected"] or summary["quarantined"]):
            raise typer.Exit(EXIT_STRICT)


@app.command()
def train(
    store: Store,
    out: Annotated[Path, typer.Option(help="folder of the checkpoint; an unfinished one is continued")],
    preset: Annotated[str, typer.Option(help="tiny, compact, base or large")] = "compact",
    dataset: Annotated[str | None, typer.Option(help="hash of the dataset; the newest by default")] = None,
    config: ConfigFile = None,
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
            plan = flow.dry_run(store, str(out), preset, dataset, recipe_)
            answer(plan, _lines(plan, without=("config",)))
            return
        with prefect_api():
            summary = flow.train(store, str(out), preset, dataset, recipe_, address=where)
        answer(summary, _lines(summary))


@app.command()
def dub(
    manifest: Annotated[str, typer.Argument(help="the catalogue: CSV or JSON Lines, one row per output")],
    out: Annotated[str, typer.Option(help="folder of the finished titles and the report")] = "out",
    checkpoint: Annotated[str | None, typer.Option(help="model folder; the one that ships by default")] = None,
    only: Annotated[list[str] | None, typer.Option(help="dub only this title; may be given again")] = None,
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

        if dry_run:
            answer(plan := flow.dry_run(manifest, out, checkpoint, only), _lines(plan, without=("rows",)))
            return
        with prefect_api():
            report = flow.dub(manifest, out, checkpoint, only, address=where)
        answer(report, _dubbed(report))
        if any(status.startswith("failed") for status in report["titles"]):
            raise typer.Exit(EXIT_SYSTEM)
        if strict and set(report["titles"]) - {"succeeded", "up_to_date"}:
            raise typer.Exit(EXIT_STRICT)


@app.command()
def inspect(
    target: Annotated[str, typer.Argument(help="a video, store, clip in a store (STORE#KEY) or checkpoint")],
    picture: Annotated[Path | None, typer.Option(help="write a picture of it here (PNG)")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what something is: a video, a store or dataset, a clip, a checkpoint."""
    with answering(as_json) as answer:
        from flows.inspect import inspect as look

        found = look(target, picture)
        answer(found, _lines(found))


@store_app.command("status")
def store_status(store: Annotated[str, typer.Argument(help="folder or URI")], as_json: AsJson = False) -> None:
    """Plans with their accounts, and datasets."""
    with answering(as_json) as answer:
        from shards.status import status
        from shards.store import open_store

        found = status(open_store(store, create=False))
        answer(found, _lines(found))


@store_app.command("retry")
def store_retry(store: Annotated[str, typer.Argument(help="folder or URI")], as_json: AsJson = False) -> None:
    """Let everything in quarantine be tried again, by the next run that wants it."""
    with answering(as_json) as answer:
        from flows.units import release_all
        from shards.commit import Ledger
        from shards.store import open_store

        released = release_all(Ledger(open_store(store, create=False)))
        answer({"released": released}, _lines({"released": released}))


@store_app.command("verify")
def store_verify(store: Annotated[str, typer.Argument(help="folder or URI")], as_json: AsJson = False) -> None:
    """Re-hash every object; names each damaged one and the units to do again."""
    with answering(as_json) as answer:
        from shards.fingerprint import plain
        from shards.status import verify
        from shards.store import open_store

        found = plain(verify(open_store(store, create=False)))
        answer(found, _lines(found))
        if found["damaged"]:
            raise typer.Exit(EXIT_SYSTEM)


# -- what all commands share -------------------------------------------------------------------------------------------


@contextmanager
def answering(as_json: bool, resumes: bool = False) -> Iterator[Callable[[dict[str, Any], str], None]]:
    """Sets the engines up, prints the answer, and turns what went wrong into one clear line and an exit code."""
    use_embedded_defaults()
    from shards.errors import DubwrightError, RequestError

    def answer(value: dict[str, Any], text: str) -> None:
        print(json.dumps(value, ensure_ascii=False, default=str) if as_json else text, flush=True)

    try:
        _set_up_log(os.environ.get("DUBWRIGHT_LOG", "WARNING"))
        yield answer
    except RequestError as error:
        print(f"dubwright: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_REQUEST) from error
    except (DubwrightError, OSError) as error:
        # OSError: the disk is full, a folder may not be written. Where in the program is of use to us only.
        log.debug("failed", exc_info=error)
        print(f"dubwright: {type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_SYSTEM) from error
    except KeyboardInterrupt:
        again = shlex.join(["dubwright", *sys.argv[1:]])
        resume = f" Run it again to go on: {again}" if resumes else ""
        print(f"\ndubwright: stopped. What was finished is kept.{resume}", file=sys.stderr)
        raise typer.Exit(EXIT_STOPPED) from None


def _set_up_log(level: str) -> None:
    from shards.errors import RequestError

    if (number := logging.getLevelNamesMapping().get(level.upper())) is None:
        choices = logging.getLevelNamesMapping()
        raise RequestError("no such level", field="DUBWRIGHT_LOG", value=level, choices=choices)
    logging.basicConfig(level=number, format="%(levelname)s %(name)s: %(message)s")


def checked(address: str) -> str:
    """The address, or a refusal before any work is done."""
    from flows.cluster.engine import ADDRESSES
    from shards.errors import RequestError

    if address not in ADDRESSES:
        raise RequestError("no such engine", field="--address", value=address, choices=ADDRESSES)
    return address


def _lines(value: dict[str, Any], without: tuple[str, ...] = ()) -> str:
    """name: value, a line each; nested values indented."""
    lines = []
    for name, item in value.items():
        if name in without:
            continue
        if isinstance(item, dict):
            inner = _lines(item)
            lines.append(f"{name}:" + ("\n  " + inner.replace("\n", "\n  ") if inner else " none"))
        elif isinstance(item, list):
            lines.append(f"{name}: " + (", ".join(map(str, item)) if item else "none"))
        else:
            lines.append(f"{name}: {item}")
    return "\n".join(lines)


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
