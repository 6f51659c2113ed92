"""Catalogue + checkpoint -> dubbed titles and a report.

Analyse each picture once, render each stretch of a face for each new speech, master each row; every step a unit in the
run's own store (OUT/.dubwright), so the same command again does only what is missing.
"""

from __future__ import annotations

import functools
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.cluster.config import EngineConfig
from flows.cluster.engine import Engine, open_engine
from flows.cluster.progress import Progress
from flows.cluster.work import WorkerSpec
from flows.manifest import TitleRow, read_catalogue
from flows.records import FINISHED, Records
from flows.report.page import write_report
from flows.titles import Title, Voice, analysis_config
from flows.units import stop_on_interrupt, work_off
from flows.voice import read_voice
from flows.workers.analyse import AnalyseWorker
from flows.workers.master import MasterWorker
from flows.workers.render import RenderWorker
from preprocessing.errors import Unusable
from preprocessing.media.base import MediaInfo
from preprocessing.media.encode import EncodeConfig, encoding_for
from preprocessing.media.probe import probe_with_times
from preprocessing.media.tracks import refuse_unfinishable
from shards.commit import Ledger, Plan, Unit
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.schema import FrameTimes
from shards.store import open_store

RECORDS = ".dubwright"
"""Folder of the run's own store, inside the output folder."""
SECONDS_A_FRAME = 0.5
"""An item's deadline grows with the longest title: slower than this a frame is no work, it is a hang."""
MAX_STRIPS = 200
"""Picture strips in the report, which is one page: with thousands no browser opens it."""
Factory = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A catalogue read and checked, with the voice that will speak it."""

    path: Path
    titles: tuple[Title, ...]
    voice: Voice

    @property
    def pictures(self) -> tuple[Title, ...]:
        """One title for each distinct picture."""
        return tuple({t.video_sha256: t for t in reversed(self.titles)}.values())[::-1]


@task(cache_policy=NO_CACHE)
def plan_catalogue(manifest: str, checkpoint: str | None, only: list[str] | None) -> Catalogue:
    """Reads the catalogue, probes every input and the checkpoint; refuses what can be known to be wrong."""
    rows = _chosen(read_catalogue(Path(manifest)), only)
    digest = functools.cache(file_sha256)
    # The rows of a title stand together; the frame times of a whole catalogue would not fit in memory.
    measure = functools.lru_cache(maxsize=8)(functools.partial(probe_with_times, need_video=False))
    problems: list[str] = []
    titles = []
    for row in rows:
        where = f"row {row.number} ({row.title_id}, {row.language})"
        found = [f"{where}, {problem}" for problem in _unfit(row, measure)]
        problems += found
        if not found:
            info, _ = measure(row.video)
            titles.append(Title(row=row, info=info, video_sha256=digest(row.video), audio_sha256=digest(row.audio)))
    if problems:
        raise RequestError("\n  ".join(["these files cannot be dubbed:", *problems]), where=manifest)
    return Catalogue(path=Path(manifest), titles=tuple(titles), voice=read_voice(checkpoint))


def _unfit(row: TitleRow, measure: Callable[[Path], tuple[MediaInfo, FrameTimes | None]]) -> Iterator[str]:
    """What of the row's files cannot be used, column by column."""
    try:
        info, times = measure(row.video)
        encoding_for(info, EncodeConfig())
    except Unusable as unusable:
        yield f"`video`: {unusable} (got {row.video})"
    else:
        yield from _unfinishable(row, info, times)
    try:
        if not measure(row.audio)[0].audio:
            yield f"`audio`: no_audio: the file has no sound track (got {row.audio})"
    except Unusable as unusable:
        yield f"`audio`: {unusable} (got {row.audio})"


def _unfinishable(row: TitleRow, info: MediaInfo, times: FrameTimes | None) -> Iterator[str]:
    try:
        if times is not None:
            refuse_unfinishable(Path(row.output), info, times)
    except RequestError as error:
        yield f"`output`: {error.message}; valid endings: {', '.join(error.choices)} (got {row.output!r})"


def _chosen(rows: tuple[TitleRow, ...], only: list[str] | None) -> tuple[TitleRow, ...]:
    known = {row.title_id for row in rows}
    for name in only or ():
        if name not in known:
            raise RequestError("no such title in the catalogue", field="--only", value=name, choices=sorted(known))
    return tuple(row for row in rows if not only or row.title_id in only)


class Stages:
    """Runs the three kinds of unit on one engine, against one store."""

    def __init__(self, ledger: Ledger, engine: Engine, config: EngineConfig, again: Callable[[Title], str]) -> None:
        self._ledger, self._engine, self._config, self._again = ledger, engine, config, again

    def run(
        self, stage: str, work: Iterable[tuple[Title, Unit]], factory: Factory, should_stop: Callable[[], bool]
    ) -> None:
        """Works off the units; each distinct one is done once."""
        asked_by = {unit.unit_id: (title, unit) for title, unit in work}
        plan = Plan.of(stage, [unit for _, unit in asked_by.values()], {})
        if not self._ledger.pending(plan):
            return
        longest = max(title.num_frames for title, _ in asked_by.values())
        deadline_s = max(self._config.deadline_s, longest * SECONDS_A_FRAME)
        with Progress(stage) as progress:
            progress.total(len(plan.units))
            work_off(
                self._ledger,
                plan,
                WorkerSpec(name=stage, factory=factory),
                engine=self._engine,
                config=self._config.model_copy(update={"deadline_s": deadline_s}),
                progress=progress,
                reproduce=lambda unit: self._again(asked_by[unit.unit_id][0]),
                should_stop=should_stop,
            )


@task(cache_policy=NO_CACHE)
def make_titles(catalogue: Catalogue, out: str, config: EngineConfig, address: str) -> None:
    """Analyses, renders and masters whatever is not done yet."""
    records = Records(Ledger(open_store(Path(out, RECORDS))), catalogue.voice, Path(out))
    if all(records.is_current(title) for title in catalogue.titles):
        return
    uri, voice = records.ledger.store.uri, catalogue.voice
    analysis = analysis_config(voice).model_dump(mode="json")
    with stop_on_interrupt() as should_stop, open_engine(address) as engine:
        stages = Stages(records.ledger, engine, config, functools.partial(_reproduce, catalogue))
        analyses = [(title, records.analysis(title)) for title in catalogue.pictures]
        stages.run("analyse", analyses, functools.partial(AnalyseWorker, uri, analysis), should_stop)
        renders = [(title, unit) for title in catalogue.titles for unit in records.renders(title)]
        stages.run("render", renders, functools.partial(RenderWorker, uri, voice.checkpoint), should_stop)
        masters = [(title, unit) for title in catalogue.titles if (unit := records.master(title)) is not None]
        mastering = functools.partial(MasterWorker, uri, str(Path(out).resolve()))
        stages.run("master", masters, mastering, should_stop)


def _reproduce(catalogue: Catalogue, title: Title) -> str:
    """A command that does the title's work anew: in a folder of its own, since what was given up is not tried again."""
    named = {"--only": title.row.title_id, "--checkpoint": catalogue.voice.checkpoint}
    options = " ".join(f"{name} {shlex.quote(value)}" for name, value in named.items())
    return f'dubwright dub {shlex.quote(str(catalogue.path.resolve()))} {options} --out "$(mktemp -d)" --address none'


@task(cache_policy=NO_CACHE)
def report_titles(catalogue: Catalogue, out: str, current: frozenset[str], seconds: float) -> dict[str, Any]:
    """Writes report.html and report.json, from the records alone."""
    records = Records(Ledger(open_store(Path(out, RECORDS), create=False)), catalogue.voice, Path(out))
    rows = [records.row(title, up_to_date=title.row.output in current) for title in catalogue.titles]
    pictured = catalogue.titles[:MAX_STRIPS]
    strips = {title.row.output: strip for title in pictured if (strip := records.strip(title)) is not None}
    report = {
        "catalogue": catalogue.path.name,
        "model": catalogue.voice.description,
        "checkpoint": catalogue.voice.digest,
        "titles": dict(sorted(Counter(row["status"] for row in rows).items())),
        "outputs": [str(Path(out, row["output"])) for row in rows if row["status"] in FINISHED],
        "rows": rows,
        "seconds": round(seconds, 1),
    }
    return {**report, "report": str(write_report(Path(out), report, strips))}


@flow(name="dub", validate_parameters=True)
def dub(
    manifest: str,
    out: str,
    checkpoint: str | None = None,
    only: list[str] | None = None,
    engine: EngineConfig | None = None,
    address: str = "local",
) -> dict[str, Any]:
    """Dubs a catalogue; returns what became of each row."""
    begun = time.monotonic()
    catalogue = plan_catalogue(manifest, checkpoint, only)
    check_out(catalogue, out)
    records = Records(Ledger(open_store(Path(out, RECORDS))), catalogue.voice, Path(out))
    current = frozenset(t.row.output for t in catalogue.titles if records.is_current(t))
    make_titles(catalogue, out, engine or EngineConfig(), address)
    return report_titles(catalogue, out, current, time.monotonic() - begun)


def check_out(catalogue: Catalogue, out: str) -> None:
    """Refuses a place where the finished titles cannot be put, or would take the place of what they are made from."""
    if "://" in out:
        raise RequestError("titles are finished in a local folder so far", field="--out", value=out)
    if Path(out).exists() and not Path(out).is_dir():
        raise RequestError("is a file; a folder is needed", field="--out", value=out)
    inputs = {path.resolve() for title in catalogue.titles for path in (title.row.video, title.row.audio)}
    for title in catalogue.titles:
        target = Path(out, title.row.output)
        if target.resolve() in inputs:
            raise RequestError("this would overwrite a source; give another folder", field="--out", value=str(target))
        if target.is_dir():
            raise RequestError("there is a folder of that name already", field="output", value=str(target))


def dry_run(manifest: str, out: str, checkpoint: str | None, only: list[str] | None) -> dict[str, Any]:
    """The plan as one object: every input probed, nothing written."""
    catalogue = plan_catalogue.fn(manifest, checkpoint, only)
    check_out(catalogue, out)
    titles = catalogue.titles
    store = Path(out, RECORDS)
    records = Records(Ledger(open_store(store, create=False)), catalogue.voice, Path(out)) if store.is_dir() else None
    # Before the pictures are analysed nobody knows where the faces are: then it is the least it can be.
    analysed = records is not None and all(records.analysed(title) is not None for title in titles)
    rendered = (
        len({unit.unit_id for title in titles for unit in records.renders(title)}) + len(titles)
        if records is not None and analysed
        else sum(title.least_units for title in titles)
    )
    return {
        "titles": len({title.row.title_id for title in titles}),
        "outputs": len(titles),
        "frames": sum(title.num_frames for title in titles),
        "model": catalogue.voice.description,
        "out": out,
        "up_to_date": 0 if records is None else sum(records.is_current(title) for title in titles),
        "units_exact": analysed,
        "units": len(catalogue.pictures) + rendered,
        "rows": [
            {
                "title_id": title.row.title_id,
                "language": title.row.language,
                "output": title.row.output,
                "frames": title.num_frames,
                "duration_s": round(float(title.info.duration_s), 3),
            }
            for title in titles
        ],
    }
