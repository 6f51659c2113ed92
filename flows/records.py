"""What the commit records say of a catalogue's rows: what is to do, what is done, what became of each.

Owns every question about a dubbing run's state; nothing else remembers anything but a shortcut (`dubbing/requests.py`).
"""

from __future__ import annotations

import functools
import shlex
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flows.adapting import adapt_unit
from flows.casting import Cast, cast_of
from flows.dubbing.account import Status, account, status_of, with_file_flags
from flows.dubbing.config import DubConfig
from flows.dubbing.requests import Note, Notes, request_of
from flows.hearing import Speeches
from flows.mastering import master_unit, picture_units
from flows.title import Title, Voice
from flows.titles import analysis_config, analysis_unit, render_units
from flows.workers.master import STRIP_SUFFIX
from preprocessing.analysis import decode_analysis
from preprocessing.faces.base import Analysis
from shards.commit import Ledger, Quarantine, Receipt, Unit
from shards.fingerprint import fingerprint

Told = Literal[Status, "up_to_date", "failed_input", "failed_system"]
FINISHED: frozenset[Told] = frozenset({"succeeded", "succeeded_with_flags", "needs_review", "up_to_date"})
ANALYSES_KEPT, PLANS_KEPT = 4, 16


@dataclass(frozen=True, slots=True)
class Records:
    """A run's ledger, read for its voices and one output folder."""

    ledger: Ledger
    voices: Mapping[Path | None, Voice]
    """By the row's `checkpoint`; None is the run's own."""
    out: Path
    config: DubConfig = field(default_factory=DubConfig)
    is_dry: bool = False
    """Nothing is written, not even what would be found out again."""
    speeches: Speeches = field(init=False)
    notes: Notes = field(init=False)
    _read: Any = field(init=False)
    _planned: OrderedDict[str, list[Unit]] = field(init=False, default_factory=OrderedDict)
    """The renders of the titles looked at last: each stage asks for them, and casting a long title takes seconds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "speeches", Speeches(None if self.is_dry else self.ledger.store))
        object.__setattr__(self, "notes", Notes(self.ledger.store))
        object.__setattr__(self, "_read", functools.lru_cache(maxsize=ANALYSES_KEPT)(self._read_analysis))

    def voice(self, title: Title) -> Voice:
        return self.voices[title.row.checkpoint]

    # -- units, each known once the ones before are settled

    def units(self, title: Title, stage: str) -> Sequence[Unit]:
        """Of one stage; none before the stages it stands on are settled, or when those failed."""
        if stage == "analyse":
            return [self.analysis(title)]
        if stage == "adapt":
            unit = self.adaptation(title)
            return [] if unit is None else [unit]
        if stage == "render":
            return self.renders(title)
        if stage == "picture":
            return self.pictures(title)
        unit = self.master(title)
        return [] if unit is None else [unit]

    def analysis(self, title: Title) -> Unit:
        return analysis_unit(title, analysis_config(self.voice(title)))

    def analysed(self, title: Title) -> Receipt | None:
        return self.ledger.receipt(self.analysis(title).unit_id)

    def adaptation(self, title: Title) -> Unit | None:
        """The unit that teaches the voice this title's people; None where that is not worth trying."""
        if (analysed := self._usable(title)) is None:
            return None
        return adapt_unit(title, self.voice(title), self._analysis(analysed), analysed, self.config.adapt)

    def renders(self, title: Title) -> list[Unit]:
        """The title's clips in which a face speaks."""
        if (analysed := self._usable(title)) is None:
            return []
        voice, adapted = self.voice(title), self._adapted(title)
        key = fingerprint(
            analysed.unit_id, adapted, voice.digest, title.audio_sha256, title.row.model_dump_json(exclude={"meta"})
        )
        if key not in self._planned:
            self._planned[key] = render_units(
                title, voice, self._analysis(analysed), analysed, self.speeches, adapted=adapted
            )
        self._planned.move_to_end(key)
        while len(self._planned) > PLANS_KEPT:
            self._planned.popitem(last=False)
        return self._planned[key]

    def pictures(self, title: Title) -> list[Unit]:
        """The chunks that are to be encoded; what is copied from the source is no work."""
        if (analysed := self._usable(title)) is None:
            return []
        return picture_units(title, self._analysis(analysed), analysed, self._rendered(title), self.config.encode)

    def master(self, title: Title) -> Unit | None:
        """The unit that finishes the row; None when its picture could not be analysed, or a chunk of it not encoded.

        A file that was finished and is not there any more, or not as it was, is the work of the next edition.
        """
        editions = self._editions(title)
        if not editions:
            return None
        *done, (following, _) = editions
        unit = done[-1][0] if done and self._is_there(title, done[-1][1]) else following
        self._note(title, unit)
        return unit

    def _editions(self, title: Title) -> list[tuple[Unit, Receipt | None]]:
        """Every edition of the row that was finished, the oldest first; last, the one that would be next."""
        if (analysed := self._usable(title)) is None:
            return []
        pictures = [(unit, self.ledger.receipt(unit.unit_id)) for unit in self.pictures(title)]
        if any(receipt is None or not receipt.is_kept for _, receipt in pictures):
            return []
        encoded = [receipt for _, receipt in pictures if receipt is not None]
        found: list[tuple[Unit, Receipt | None]] = []
        while not found or ((last := found[-1][1]) is not None and last.is_kept):
            unit = master_unit(
                title,
                self.voice(title),
                self._analysis(analysed),
                analysed,
                self._rendered(title),
                encoded,
                self.config,
                edition=len(found),
                stems=self._stems(title),
                adapted=self._adapted(title),
            )
            found.append((unit, self.ledger.receipt(unit.unit_id)))
        return found

    # -- what became of a row

    def note(self, title: Title) -> Note | None:
        """Where the row's request led, if anybody asked before."""
        return self.notes.read(self._request(title))

    def finished(self, title: Title) -> Receipt | None:
        """The commit of the finished file, or None."""
        note = self.note(title)
        return None if note is None else self.ledger.receipt(note.master)

    def is_current(self, title: Title) -> bool:
        """The row is finished, its file is still the one that was finished, and what it lacks is still given up."""
        note = self.note(title)
        if note is None or not self._is_there(title, self.ledger.receipt(note.master)):
            return False
        return all(self.ledger.quarantined(unit_id) is not None for unit_id in note.lost)

    def strip(self, title: Title) -> bytes | None:
        """The picture strip of the finished row (JPEG)."""
        receipt = self.finished(title)
        paths = [ref.path for ref in receipt.objects if ref.path.endswith(STRIP_SUFFIX)] if receipt else []
        return self.ledger.store.read(paths[0]) if paths else None

    def row(self, title: Title, *, up_to_date: bool, stuck: str | None = None) -> dict[str, Any]:
        """The row of the report; `stuck` is why this run could not go on with it."""
        receipt, note, video = self.finished(title), self.note(title), title.info.video
        details = receipt.details if receipt else {}
        told: Mapping[str, Any] = {"shots": [], "flags": [], "coverage": None, "left_alone": []}
        if note is not None:
            told = with_file_flags(note.account, title, details)
        status, reason = self._status(title, receipt, told["flags"], up_to_date, stuck)
        return {
            "title_id": title.row.title_id,
            "language": title.row.language,
            "output": title.row.output,
            "video": str(title.row.video.resolve()),
            "status": status,
            "reason": reason,
            "frames": title.num_frames,
            "fps": str(video.frame_rate) if video else None,
            "duration_s": round(float(title.info.duration_s), 3),
            "rendered_frames": details.get("rendered_frames", 0),
            "checks": details.get("checks", {}),
            "loudness": details.get("loudness", {}),
            "adapted": self._gain(title),
            "meta": title.row.meta,
            **told,
        }

    def _status(
        self,
        title: Title,
        receipt: Receipt | None,
        flags: Sequence[Mapping[str, Any]],
        up_to_date: bool,
        stuck: str | None,
    ) -> tuple[Told, str | None]:
        if self._is_there(title, receipt):
            status, why = status_of(flags)
            return ("up_to_date" if up_to_date and status == "succeeded" else status), why
        for unit in self._deciding(title):
            if (failed := self._failure(unit)) is not None:
                return failed
        return "failed_system", stuck or "it was not finished; run the same command again"

    def _deciding(self, title: Title) -> list[Unit]:
        """The units without which there is no file, in the order in which they are done."""
        master = self.master(title)
        return [self.analysis(title), *self.pictures(title), *([] if master is None else [master])]

    def _failure(self, unit: Unit) -> tuple[Told, str] | None:
        """Why the unit has no result; None when it has one, or is still to do."""
        receipt = self.ledger.receipt(unit.unit_id)
        if receipt is not None:
            reasons = "; ".join(f"{r.code}: {r.detail}" for r in receipt.rejections)
            return None if receipt.is_kept else ("failed_input", f"{unit.stage}: {reasons}")
        given_up = self.ledger.quarantined(unit.unit_id)
        if given_up is None:
            return None
        again = f"once that is mended: dubwright store retry {shlex.quote(self.ledger.store.uri)}"
        return "failed_system", f"{unit.stage}: {given_up.error_class}: {given_up.message}; {again}"

    # -- inside

    def _usable(self, title: Title) -> Receipt | None:
        analysed = self.analysed(title)
        return analysed if analysed is not None and analysed.is_kept else None

    def _analysis(self, analysed: Receipt) -> Analysis:
        found: Analysis = self._read(analysed.objects[-1].path)
        return found

    def _read_analysis(self, path: str) -> Analysis:
        return decode_analysis(self.ledger.store.read(path))

    def _cast(self, title: Title, analysed: Receipt) -> Cast:
        return cast_of(title, self._analysis(analysed), analysed, self.speeches)

    def _decisions(self, title: Title) -> list[tuple[Unit, Receipt | Quarantine | None]]:
        return [
            (unit, self.ledger.receipt(unit.unit_id) or self.ledger.quarantined(unit.unit_id))
            for unit in self.renders(title)
        ]

    def _rendered(self, title: Title) -> list[Receipt]:
        return [found for _, found in self._decisions(title) if isinstance(found, Receipt) and found.is_kept]

    def _is_there(self, title: Title, receipt: Receipt | None) -> bool:
        """The finished file, by name and size: to read every film again would make each run as long as a copy."""
        path = self.out / title.row.output
        if receipt is None or not receipt.is_kept:
            return False
        return path.is_file() and path.stat().st_size == receipt.details["size_bytes"]

    def _request(self, title: Title) -> str:
        config = self.config.model_dump(mode="json", include={"encode", "adapt", "signing", "flags"})
        return request_of(title, self.voice(title), config, self.speeches.sha256)

    def _note(self, title: Title, master: Unit) -> None:
        analysed = self.analysed(title)
        if analysed is None:
            return
        decisions = self._decisions(title)
        lost = [unit.unit_id for unit, found in decisions if isinstance(found, Quarantine)]
        told = account(
            title,
            self._analysis(analysed),
            analysed,
            self._cast(title, analysed),
            decisions,
            master.payload,
            self.config.flags,
        )
        self.notes.write(self._request(title), master=master.unit_id, lost=lost, account=told)

    def _adapted(self, title: Title) -> str | None:
        """Path of the weights that were learned from this title, where they are better."""
        unit = self.adaptation(title)
        receipt = self.ledger.receipt(unit.unit_id) if unit is not None else None
        return receipt.objects[0].path if receipt is not None and receipt.objects else None

    def _stems(self, title: Title) -> list[dict[str, str]]:
        """The sounds of single speakers, each once."""
        paths = {segment.audio: None for segment in title.row.segments if segment.audio is not None}
        return [{"name": path.name, "sha256": self.speeches.sha256(path)} for path in paths]

    def _gain(self, title: Title) -> dict[str, Any] | None:
        """What the title's adaptation brought, for the report."""
        unit = self.adaptation(title)
        receipt = self.ledger.receipt(unit.unit_id) if unit is not None else None
        return dict(receipt.details) if receipt is not None else None
