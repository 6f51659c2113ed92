"""Catalogue + checkpoint -> dubbed titles and a report.

Analyse each picture once, render each stretch of a face for each new speech, master each row; every step a unit in the
run's own store (OUT/.dubwright), so the same command again does only what is missing.
"""

from __future__ import annotations

import functools
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable
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
from preprocessing.media.probe import probe
from shards.commit import Ledger, Plan, Unit
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.store import open_store

RECORDS = ".dubwright"
"""Folder of the run's own store, inside the output folder."""
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
    measure = functools.cache(probe)
    problems: list[str] = []
    titles = []
    for row in rows:
        try:
            info = measure(row.video)
            probe(row.audio, need_video=False)
        except Unusable as unusable:
            problems.append(f"{row.title_id}/{row.language}: {unusable}")
            continue
        titles.append(Title(row=row, info=info, video_sha256=digest(row.video), audio_sha256=digest(row.audio)))
    if problems:
        raise RequestError("\n  ".join(["these files cannot be dubbed:", *problems]), where=manifest)
    return Catalogue(path=Path(manifest), titles=tuple(titles), voice=read_voice(checkpoint))


def _chosen(rows: tuple[TitleRow, ...], only: list[str] | None) -> tuple[TitleRow, ...]:
    known = {row.title_id for row in rows}
    for name in only or ():
        if name not in known:
            raise RequestError("no such title in the catalogue", field="--only", value=name, choices=sorted(known))
    return tuple(row for row in rows if not only or row.title_id in only)


class Stages:
    """Runs the three kinds of unit on one engine, against one store."""

    def __init__(self, ledger: Ledger, engine: Engine, config: EngineConfig, again: str) -> None:
        self._ledger, self._engine, self._config, self._again = ledger, engine, config, again

    def run(self, stage: str, units: Iterable[Unit], factory: Factory, should_stop: Callable[[], bool]) -> None:
        """Works off the units; each distinct one is done once."""
        plan = Plan.of(stage, {u.unit_id: u for u in units}.values(), {})
        if not self._ledger.pending(plan):
            return
        with Progress(stage) as progress:
            progress.total(len(plan.units))
            work_off(
                self._ledger,
                plan,
                WorkerSpec(name=stage, factory=factory),
                engine=self._engine,
                config=self._config,
                progress=progress,
                reproduce=lambda unit: f"{self._again} --address none",
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
    again = f"dubwright dub {shlex.quote(str(catalogue.path))} --out {shlex.quote(out)}"
    with stop_on_interrupt() as should_stop, open_engine(address) as engine:
        stages = Stages(records.ledger, engine, config, again)
        analyses = [records.analysis(title) for title in catalogue.pictures]
        stages.run("analyse", analyses, functools.partial(AnalyseWorker, uri, analysis), should_stop)
        renders = [unit for title in catalogue.titles for unit in records.renders(title)]
        stages.run("render", renders, functools.partial(RenderWorker, uri, voice.checkpoint), should_stop)
        masters = [unit for title in catalogue.titles if (unit := records.master(title)) is not None]
        mastering = functools.partial(MasterWorker, uri, str(Path(out).resolve()))
        stages.run("master", masters, mastering, should_stop)


@task(cache_policy=NO_CACHE)
def report_titles(catalogue: Catalogue, out: str, current: frozenset[str], seconds: float) -> dict[str, Any]:
    """Writes report.html and report.json, from the records alone."""
    records = Records(Ledger(open_store(Path(out, RECORDS), create=False)), catalogue.voice, Path(out))
    rows = [records.row(title, up_to_date=title.row.output in current) for title in catalogue.titles]
    strips = {title.row.output: strip for title in catalogue.titles if (strip := records.strip(title)) is not None}
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
    records = Records(Ledger(open_store(Path(out, RECORDS))), catalogue.voice, Path(out))
    current = frozenset(t.row.output for t in catalogue.titles if records.is_current(t))
    make_titles(catalogue, out, engine or EngineConfig(), address)
    return report_titles(catalogue, out, current, time.monotonic() - begun)


def dry_run(manifest: str, out: str, checkpoint: str | None, only: list[str] | None) -> dict[str, Any]:
    """The plan as one object: every input probed, nothing written."""
    catalogue = plan_catalogue.fn(manifest, checkpoint, only)
    titles = catalogue.titles
    plan: dict[str, Any] = {
        "titles": len({title.row.title_id for title in titles}),
        "outputs": len(titles),
        "frames": sum(title.num_frames for title in titles),
        "model": catalogue.voice.description,
        "out": out,
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
    store = Path(out, RECORDS)
    records = Records(Ledger(open_store(store, create=False)), catalogue.voice, Path(out)) if store.is_dir() else None
    analysed = records is not None and all(records.analysed(title) is not None for title in titles)
    plan["up_to_date"] = 0 if records is None else sum(records.is_current(title) for title in titles)
    # Before the pictures are analysed nobody knows where the faces are: then it is the least it can be.
    plan["units_exact"] = analysed
    rendered = (
        sum(len(records.renders(title)) + 1 for title in titles)
        if records is not None and analysed
        else sum(title.least_units for title in titles)
    )
    plan["units"] = len(catalogue.pictures) + rendered
    return plan
