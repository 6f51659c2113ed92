"""Catalogue + checkpoint -> dubbed titles and a report.

Each picture is analysed once, each clip of a face that speaks rendered once for what it hears, each changed stretch
encoded once, each row finished once; every step a unit in the run's own store (OUT/.dubwright), so the same command
again does only what is missing. Which unit may begin when is `dubbing/run.py`'s.
"""

from __future__ import annotations

import functools
import itertools
import shlex
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_API_URL

from flows.cluster.config import EngineConfig
from flows.cluster.engine import open_engine
from flows.cluster.failures import Failure
from flows.cluster.work import WorkerSpec
from flows.consent import refuse_without_consent
from flows.dubbing.board import Board
from flows.dubbing.budget import Budget
from flows.dubbing.config import DubConfig
from flows.dubbing.requests import Outputs
from flows.dubbing.run import STAGES, CatalogueRun
from flows.dubbing.scratch import clear
from flows.forecast import forecast
from flows.manifest import read_catalogue
from flows.plan_checks import Probes, unfit
from flows.records import FINISHED, Records
from flows.report.dub import write_dub_report
from flows.rows import TitleRow
from flows.title import Title, Voice
from flows.titles import analysis_config
from flows.units import Stopped, stop_on_interrupt
from flows.voice import read_voice
from flows.workers.adapt import AdaptWorker
from flows.workers.analyse import AnalyseWorker
from flows.workers.master import MasterWorker
from flows.workers.picture import PictureWorker
from flows.workers.render import RenderWorker
from shards.commit import Claim, Ledger, Receipt
from shards.errors import DubwrightError, RequestError
from shards.fingerprint import file_sha256
from shards.leases import hold_lease
from shards.store import open_store

RECORDS = ".dubwright"
"""Folder of the run's own store, inside the output folder."""
SECONDS_A_FRAME = 0.5
"""An item's deadline grows with the longest title: slower than this a frame is no work, it is a hang."""
PROBING = 4
"""Files looked at at a time."""
Factory = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A catalogue read and checked, with the voice that will speak it."""

    path: Path
    titles: tuple[Title, ...]
    voice: Voice
    voices: Mapping[Path | None, Voice] = field(default_factory=dict)
    """Of rows that name a checkpoint of their own."""

    def records(self, out: str, config: DubConfig, *, create: bool = True, is_dry: bool = False) -> Records:
        """What is known of its rows in an output folder."""
        ledger = Ledger(open_store(Path(out, RECORDS), create=create))
        return Records(ledger, {**self.voices, None: self.voice}, Path(out), config, is_dry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run did."""

    worked: frozenset[str] = frozenset()
    """Outputs for which there was something to do."""
    stuck: Mapping[str, str] = field(default_factory=dict)
    """Output -> why this run could not finish it."""
    pace: Mapping[str, float | None] = field(default_factory=dict)


@task(cache_policy=NO_CACHE)
def plan_catalogue(
    manifest: str, checkpoint: str | None, only: list[str] | None, *, require_consent: bool = False
) -> Catalogue:
    """Reads the catalogue, probes every input and the checkpoint; refuses what can be known to be wrong."""
    rows = _chosen(read_catalogue(Path(manifest)), only)
    if require_consent:
        refuse_without_consent(rows, date.today())
    probes, digest = Probes(), functools.cache(file_sha256)
    # Rows of one picture follow each other and look at it once; waiting for ffprobe is what takes long.
    pictures = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.video)]
    problems: list[str] = []
    titles: list[Title] = []
    with ThreadPoolExecutor(PROBING) as pool:
        for found in pool.map(lambda group: [_title(row, probes, digest) for row in group], pictures):
            for each in found:
                if isinstance(each, Title):
                    titles.append(each)
                else:
                    problems += each
    if problems:
        raise RequestError("\n  ".join(["these files cannot be dubbed:", *problems]), where=manifest)
    voice = read_voice(checkpoint)
    voices: dict[Path | None, Voice] = {
        row.checkpoint: _fitting(row, voice) for row in rows if row.checkpoint is not None
    }
    return Catalogue(path=Path(manifest), titles=tuple(titles), voice=voice, voices=voices)


def _title(row: TitleRow, probes: Probes, digest: Callable[[Path], str]) -> Title | list[str]:
    """The row's title, or all that is wrong with it."""
    where = f"row {row.number} ({row.title_id}, {row.language})"
    if found := [f"{where}, {problem}" for problem in unfit(row, probes)]:
        return found
    return Title(
        row=row,
        info=probes.measure(row.video)[0],
        video_sha256=digest(row.video),
        audio_sha256=digest(row.audio),
        start_timecode=probes.start_timecode(row.video),
    )


def _fitting(row: TitleRow, voice: Voice) -> Voice:
    """The row's own voice; one picture is cropped and followed for all voices of a run alike."""
    own = read_voice(str(row.checkpoint))
    for name in ("crop_px", "window", "topology"):
        if (theirs := getattr(own, name)) != (mine := getattr(voice, name)):
            message = f"row {row.number}: its {name} is {theirs}, the run's {mine}; dub it in a catalogue of its own"
            raise RequestError(message, field="checkpoint", value=str(row.checkpoint))
    return own


def _chosen(rows: tuple[TitleRow, ...], only: list[str] | None) -> tuple[TitleRow, ...]:
    known = {row.title_id for row in rows}
    for name in only or ():
        if name not in known:
            raise RequestError("no such title in the catalogue", field="--only", value=name, choices=sorted(known))
    return tuple(row for row in rows if not only or row.title_id in only)


@task(cache_policy=NO_CACHE)
def make_titles(catalogue: Catalogue, out: str, config: DubConfig, address: str) -> Outcome:
    """Takes every title through its stages; what is done already is not done again."""
    records = catalogue.records(out, config)
    clear(records.out)
    if all(records.is_current(title) for title in catalogue.titles):
        return Outcome()
    with (
        stop_on_interrupt() as should_stop,
        open_engine(address) as engine,
        hold_lease(records.ledger.store, "dub") as lease,
        Board(catalogue.titles) as board,
    ):
        gpus = 1.0 if engine.gpus else 0.0
        budget = Budget(config.max_gpu_hours, per_worker=gpus)
        going = CatalogueRun(
            records,
            catalogue.titles,
            lease,
            engine=engine,
            config=_patient(config.engine, catalogue.titles),
            reproduce=functools.partial(_reproduce, catalogue),
            watcher=board,
            budget=budget,
        )
        summaries = going.through(_workers(catalogue, records, config, gpus), should_stop)
    clear(records.out)  # also what a worker that had to be killed left
    if any(summary.stopped for summary in summaries):
        raise Stopped
    rendering = summaries[STAGES.index("render")]
    return Outcome(
        worked=frozenset(going.worked),
        stuck={name: _why(reason) for name, reason in going.stuck.items()},
        pace={
            "renderer_hours": round(budget.used_s / 3600, 3),
            "renderers_busy": round(rendering.busy_seconds * (gpus or 1.0) / budget.used_s, 3)
            if budget.used_s
            else None,
        },
    )


def _workers(
    catalogue: Catalogue, records: Records, config: DubConfig, gpus: float
) -> dict[str, WorkerSpec[Claim, Receipt]]:
    """How the workers of each stage are made, and what one of them takes of a machine."""
    uri, voice = records.ledger.store.uri, catalogue.voice
    analysis = analysis_config(voice).model_dump(mode="json")
    factories: dict[str, Factory] = {
        "analyse": functools.partial(AnalyseWorker, uri, analysis),
        "adapt": functools.partial(AdaptWorker, uri, voice.checkpoint),
        "render": functools.partial(RenderWorker, uri, voice.checkpoint),
        "picture": functools.partial(PictureWorker, uri, config.encode.model_dump(mode="json")),
        "master": functools.partial(MasterWorker, uri, str(records.out.resolve())),
    }
    return {
        stage: WorkerSpec(
            name=stage,
            factory=factories[stage],
            gpus=gpus if stage == "render" else 0.0,
            batch=config.batch if stage == "render" else 1,
        )
        for stage in STAGES
    }


def _patient(config: EngineConfig, titles: Sequence[Title]) -> EngineConfig:
    longest = max(title.num_frames for title in titles)
    return config.model_copy(update={"deadline_s": max(config.deadline_s, longest * SECONDS_A_FRAME)})


def _why(reason: DubwrightError | OSError | Failure | str) -> str:
    if isinstance(reason, Failure):
        return f"{reason.error_class}: {reason.message}; {reason.attempts} tries. Once that is mended, run again"
    return str(reason)


def _reproduce(catalogue: Catalogue, title: Title) -> str:
    """A command that does the title's work anew: in a folder of its own, since what was given up is not tried again."""
    named = {"--only": title.row.title_id, "--checkpoint": catalogue.voice.checkpoint}
    options = " ".join(f"{name} {shlex.quote(value)}" for name, value in named.items())
    return f'dubwright dub {shlex.quote(str(catalogue.path.resolve()))} {options} --out "$(mktemp -d)" --address none'


@task(cache_policy=NO_CACHE)
def report_titles(
    catalogue: Catalogue, out: str, config: DubConfig, outcome: Outcome, seconds: float
) -> dict[str, Any]:
    """Writes the report, from the records alone but for what kept this run from finishing."""
    records = catalogue.records(out, config, create=False)
    rows = [
        records.row(
            title,
            up_to_date=title.row.output not in outcome.worked,
            stuck=outcome.stuck.get(title.row.output),
        )
        for title in catalogue.titles
    ]
    strips = {t.row.output: strip for t in catalogue.titles if (strip := records.strip(t)) is not None}
    report = {
        "catalogue": catalogue.path.name,
        "model": catalogue.voice.description,
        "checkpoint": catalogue.voice.digest,
        "titles": dict(sorted(Counter(row["status"] for row in rows).items())),
        "outputs": [str(Path(out, row["output"])) for row in rows if row["status"] in FINISHED],
        "rows": rows,
        "pace": dict(outcome.pace),
        "seconds": round(seconds, 1),
    }
    return {**report, "report": str(write_dub_report(Path(out), report, strips))}


@flow(name="dub", validate_parameters=True)
def dub(
    manifest: str,
    out: str,
    checkpoint: str | None = None,
    only: list[str] | None = None,
    config: DubConfig | None = None,
    address: str = "local",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Dubs a catalogue; returns what became of each row."""
    begun, config = time.monotonic(), config or DubConfig()
    catalogue = plan_catalogue(manifest, checkpoint, only, require_consent=config.require_consent)
    check_out(catalogue, out, config, overwrite=overwrite)
    Outputs(catalogue.records(out, config).ledger.store).claim([title.row.output for title in catalogue.titles])
    outcome = make_titles(catalogue, out, config, address)
    return report_titles(catalogue, out, config, outcome, time.monotonic() - begun)


def unchanged(
    manifest: str, out: str, checkpoint: str | None, only: list[str] | None, config: DubConfig, *, overwrite: bool
) -> dict[str, Any] | None:
    """The report of a run that finds every row up to date; None where there is something to do.

    Without Prefect, whose API takes longer to start than all that is left to do; but where a server of the user's keeps
    the runs, this is one of them.
    """
    if PREFECT_API_URL.value() or not Path(out, RECORDS).is_dir():
        return None
    begun = time.monotonic()
    catalogue = plan_catalogue.fn(manifest, checkpoint, only, require_consent=config.require_consent)
    check_out(catalogue, out, config, overwrite=overwrite)
    records = catalogue.records(out, config, create=False)
    if not all(records.is_current(title) for title in catalogue.titles):
        return None
    clear(records.out)
    report: dict[str, Any] = report_titles.fn(catalogue, out, config, Outcome(), time.monotonic() - begun)
    return report


def check_out(catalogue: Catalogue, out: str, config: DubConfig, *, overwrite: bool = False) -> None:
    """Refuses a place where the finished titles cannot be put, or would take the place of what is not ours."""
    if "://" in out:
        raise RequestError(
            "titles are finished in a local folder; `flows/watch.py` delivers to buckets", field="--out", value=out
        )
    if Path(out).exists() and not Path(out).is_dir():
        raise RequestError("is a file; a folder is needed", field="--out", value=out)
    inputs = {path.resolve() for title in catalogue.titles for _, path in title.row.files()}
    ours = Outputs(catalogue.records(out, config).ledger.store) if Path(out, RECORDS).is_dir() else None
    for title in catalogue.titles:
        target = Path(out, title.row.output)
        if target.resolve() in inputs:
            raise RequestError("this would overwrite a source; give another folder", field="--out", value=str(target))
        if target.is_dir():
            raise RequestError("there is a folder of that name already", field="output", value=str(target))
        if target.exists() and not overwrite and not (ours is not None and ours.has(title.row.output)):
            message = "a file that no run here made is there already; move it away, or give --overwrite"
            raise RequestError(message, field="output", value=str(target))


def dry_run(
    manifest: str,
    out: str,
    checkpoint: str | None,
    only: list[str] | None,
    config: DubConfig | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """The plan as one object: every input probed, nothing written."""
    config = config or DubConfig()
    catalogue = plan_catalogue.fn(manifest, checkpoint, only, require_consent=config.require_consent)
    check_out(catalogue, out, config, overwrite=overwrite)
    is_begun = Path(out, RECORDS).is_dir()
    records = catalogue.records(out, config, create=False, is_dry=True) if is_begun else None
    return {
        "model": catalogue.voice.description,
        "out": out,
        **forecast(catalogue.titles, records),
        "config": config.model_dump(mode="json"),
    }
