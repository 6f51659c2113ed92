"""What dubbing costs beside the network: against ffmpeg's own re-encode, in memory, and in waiting renderers."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.dub import plan_catalogue
from flows.dubbing.config import DubConfig
from flows.records import Records
from flows.title import Title
from flows.titles import analysis_config
from flows.workers.analyse import AnalyseWorker
from flows.workers.master import MasterWorker
from flows.workers.picture import PictureWorker
from flows.workers.render import RenderWorker
from model.pipeline import DubbingPipeline
from preprocessing.media.encode import EncodeConfig, encoding_for
from preprocessing.media.probe import probe
from preprocessing.media.tools import ffmpeg_command, file_url, input_args
from shards.schema import U8
from tests.support.datasets import done_by
from tests.support.models import nano_checkpoint

ROOT = Path(__file__).parents[2]
HOPPER = ROOT / "examples" / "hopper.mp4"
SPEECH = {"es": ROOT / "examples" / "hopper.es.m4a", "en": ROOT / "examples" / "hopper.en.m4a"}
COMMAND = Path(sys.executable).with_name("dubwright")
SHORT_TITLES, LANGUAGES = 30, ("es", "en")


def overhead(picture: Callable[[Path], Path]) -> str:
    """CPU seconds of everything but the network, by language, over those of ffmpeg's re-encode of the same file."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        video = picture(folder)
        plain = min(_cpu_seconds(lambda: _reencode(video, folder / "plain.mov")) for _ in range(2))
        planned = plan_catalogue.fn(str(_catalogue(folder, [video])), None, None)
        records = planned.records(str(folder / "out"), DubConfig())
        told, seconds = [_dub(records, title) for title in planned.titles], probe(video).duration_s
    first, second = (sum(stages.values()) for stages in told)
    parts = "; ".join(", ".join(f"{stage} {s:.1f}" for stage, s in stages.items()) for stages in told)
    return (
        f"{first / plain:.2f}x for the first language, {second / plain:.2f}x for the second, once workers are up"
        f" (CPU s: {parts}; ffmpeg {plain:.1f}; {float(seconds):.1f} s of film)"
    )


def _dub(records: Records, title: Title) -> dict[str, float]:
    """CPU seconds by stage, in this process, its faces drawn by nobody: they come back as they were.

    What a worker loads at its start is not counted: it is loaded once for a whole catalogue.
    """
    spent: dict[str, float] = {}
    uri, voice = records.ledger.store.uri, records.voice(title)
    made = {
        "analyse": lambda: AnalyseWorker(uri, analysis_config(voice).model_dump(mode="json")),
        "render": lambda: _Undrawn(uri, voice.checkpoint),
        "picture": lambda: PictureWorker(uri, records.config.encode.model_dump(mode="json")),
        "master": lambda: MasterWorker(uri, str(records.out)),
    }
    for stage, maker in made.items():
        units = [unit for unit in records.units(title, stage) if records.ledger.receipt(unit.unit_id) is None]
        if not units:
            continue
        worker: Any = maker()
        worker.setup()
        try:
            spent[stage] = _cpu_seconds(lambda worker=worker, units=units: [done_by(worker, unit) for unit in units])
        finally:
            worker.close()
    return spent


class _Undrawn(RenderWorker):
    """Does all that a renderer does but ask the denoiser."""

    def setup(self) -> None:
        super().setup()
        DubbingPipeline.render_all = _as_they_are  # type: ignore[method-assign]


def _as_they_are(self: DubbingPipeline, takes: Sequence[Any], *_: object, **__: object) -> list[U8]:
    return [take.frames.copy() for take in takes]


def _reencode(video: Path, out: Path) -> None:
    """By ffmpeg alone, with the very settings of ours."""
    info = probe(video)
    encoding = encoding_for(info, EncodeConfig())
    command = ffmpeg_command(
        *input_args(video), "-map", "0:v:0", "-c:v", encoding.encoder, *encoding.arguments, "-y", file_url(out)
    )
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def _catalogue(folder: Path, videos: Sequence[Path]) -> Path:
    """Each picture in both languages."""
    path = folder / "catalogue.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["title_id", "video", "audio", "language", "output"])
        for video in videos:
            for language in LANGUAGES:
                output = f"{language}/{video.stem}.mp4"
                writer.writerow([video.stem, video, SPEECH[language], language, output])
    return path


def _at_1080p(folder: Path) -> Path:
    """The sample's film on a canvas of 1920 x 1080, its face 400 px high."""
    return _scaled(folder / "film.mp4", HOPPER)


def _scaled(out: Path, film: Path, *, loops: int = 0, grain: int = 4) -> Path:
    canvas = f"scale=1080:1080:flags=lanczos,pad=1920:1080:420:0,noise=alls={grain}:allf=t"
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(loops), "-i", str(film), "-vf", canvas]
    subprocess.run(
        [*command, "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "copy", "-y", str(out)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return out


def _spoken_again(out: Path, speech: Path, *, loops: int) -> Path:
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(loops), "-i", str(speech), "-c:a", "copy", "-y", str(out)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return out


def _cpu_seconds(work: Callable[[], object]) -> float:
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


# -- a whole catalogue -------------------------------------------------------------------------------------------------


def catalogue() -> str:
    """30 short titles in 2 languages by the real command: how busy renderers are; then the same command again."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        videos = [_cut(folder / f"film{n:02d}.mp4", start_s=0.1 * n) for n in range(SHORT_TITLES)]
        command = [COMMAND, "dub", _catalogue(folder, videos), "--out", folder / "out", "--json"]
        first, first_s = _answer(*command)
        again, again_s = _answer(*command)
    busy, frames = first["pace"]["renderers_busy"], sum(row["rendered_frames"] for row in first["rows"])
    return (
        f"{first['titles']} in {first_s:.0f} s, {frames} frames drawn, renderers busy {busy:.0%} of their time;"
        f" again: {again['titles']} in {again_s:.1f} s"
    )


def _cut(out: Path, *, start_s: float) -> Path:
    """Three seconds of the sample; every film other bytes."""
    command = ["ffmpeg", "-v", "error", "-ss", f"{start_s:.2f}", "-t", "3", "-i", str(HOPPER)]
    subprocess.run(
        [*command, "-c:v", "libx264", "-crf", "16", "-c:a", "aac", "-y", str(out)], check=True, stdin=subprocess.DEVNULL
    )
    return out


def _answer(*command: object) -> tuple[dict[str, Any], float]:
    begun = time.monotonic()
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer, time.monotonic() - begun


# -- memory ------------------------------------------------------------------------------------------------------------


def memory() -> str:
    """Resident memory of the whole run, all its processes together, for a short and a long 1080p title.

    A very small checkpoint draws, since weights are a constant, and the picture is without grain, which only costs the
    encoder time: the long title would take many hours otherwise. Its face speaks from the first frame to the last.
    """
    told, peaks = [], []
    for minutes in (2, 20):
        with tempfile.TemporaryDirectory() as scratch:
            folder, loops = Path(scratch), round(minutes * 60 / 7.6) - 1
            video = _scaled(folder / "film.mp4", HOPPER, loops=loops, grain=0)
            speech = _spoken_again(folder / "speech.m4a", SPEECH["es"], loops=loops)
            checkpoint = nano_checkpoint(folder / "checkpoint")
            one = folder / "one.csv"
            one.write_text(
                f"title_id,video,audio,language,output,quality\nfilm,{video},{speech},es,film.es.mp4,draft\n"
            )
            command = [COMMAND, "dub", one, "--out", folder / "out", "--checkpoint", checkpoint, "--json"]
            peak, seconds = _peak_mib(list(map(str, command)))
            report = json.loads((folder / "out" / "report.json").read_text())
        peaks.append(peak)
        drawn = sum(row["rendered_frames"] for row in report["rows"])
        told.append(f"{minutes} min: {peak:.0f} MiB in {seconds:.0f} s, {drawn} frames drawn")
    return "; ".join([*told, f"the long one over the short one {peaks[1] / peaks[0]:.2f}x"])


def _peak_mib(command: list[str]) -> tuple[float, float]:
    """Peak of the summed resident memory of a command and all that it started; shared pages count in each."""
    begun, peak, over = time.monotonic(), 0.0, threading.Event()
    ran = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while ran.poll() is None:
        peak = max(peak, _tree_mib(ran.pid))
        over.wait(0.5)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {ran.returncode}")
    return peak, time.monotonic() - begun


def _tree_mib(root: int) -> float:
    """Proportional set sizes: a page that five processes share is a fifth of a page in each."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    family, total = {root}, 0.0
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    for pid in family:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


BENCHES = (
    ("dub: everything but the network, the sample", lambda: overhead(lambda folder: HOPPER)),
    ("dub: everything but the network, 1080p", lambda: overhead(_at_1080p)),
    ("dub: 30 titles in 2 languages", catalogue),
    ("dub: memory of 2 and 20 minutes at 1080p", memory),
)
