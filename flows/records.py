"""What the commit records say of a catalogue's rows: what is to do, what is done, what became of each.

Owns every question about a dubbing run's state; nothing else remembers anything.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.titles import Title, Voice, analysis_config, analysis_unit, master_unit, render_units
from flows.workers.master import STRIP_SUFFIX
from shards.commit import Ledger, Receipt, Unit
from shards.schema import Rejection

Status = Literal["succeeded", "succeeded_with_flags", "up_to_date", "failed_input", "failed_system"]
FINISHED: frozenset[Status] = frozenset({"succeeded", "succeeded_with_flags", "up_to_date"})


@dataclass(frozen=True, slots=True)
class Records:
    """A run's ledger, read for one voice and one output folder."""

    ledger: Ledger
    voice: Voice
    out: Path

    # -- units, each known once the one before is done

    def analysis(self, title: Title) -> Unit:
        return analysis_unit(title, analysis_config(self.voice))

    def analysed(self, title: Title) -> Receipt | None:
        return self.ledger.receipt(self.analysis(title).unit_id)

    def renders(self, title: Title) -> list[Unit]:
        """The title's stretches; none before its picture is analysed, or when that failed."""
        analysed = self.analysed(title)
        return render_units(title, self.voice, analysed) if analysed is not None and analysed.is_kept else []

    def master(self, title: Title) -> Unit | None:
        """The unit that finishes the row, from what was rendered; None when its picture could not be analysed.

        A file that was finished and is not there any more, or not as it was, is the work of the next edition.
        """
        editions = self._editions(title)
        if not editions:
            return None
        *done, (following, _) = editions
        return done[-1][0] if done and self._is_there(title, done[-1][1]) else following

    def _editions(self, title: Title) -> list[tuple[Unit, Receipt | None]]:
        """Every edition of the row that was finished, the oldest first; last, the one that would be next."""
        analysed = self.analysed(title)
        if analysed is None or not analysed.is_kept:
            return []
        receipts = [self.ledger.receipt(unit.unit_id) for unit in self.renders(title)]
        rendered = [r for r in receipts if r is not None and r.is_kept]
        found: list[tuple[Unit, Receipt | None]] = []
        while not found or ((last := found[-1][1]) is not None and last.is_kept):
            unit = master_unit(title, rendered, edition=len(found))
            found.append((unit, self.ledger.receipt(unit.unit_id)))
        return found

    def _is_there(self, title: Title, receipt: Receipt | None) -> bool:
        """The finished file, by name and size: to read every film again would make each run as long as a copy."""
        path = self.out / title.row.output
        return receipt is not None and path.is_file() and path.stat().st_size == receipt.details["size_bytes"]

    # -- what became of a row

    def finished(self, title: Title) -> Receipt | None:
        """The commit of the newest finished file, or None."""
        done = self._editions(title)[:-1]
        return done[-1][1] if done else None

    def is_current(self, title: Title) -> bool:
        """The row is finished, and its file is still the one that was finished."""
        return self._is_there(title, self.finished(title))

    def strip(self, title: Title) -> bytes | None:
        """The picture strip of the finished row (JPEG)."""
        receipt = self.finished(title)
        paths = [ref.path for ref in receipt.objects if ref.path.endswith(STRIP_SUFFIX)] if receipt else []
        return self.ledger.store.read(paths[0]) if paths else None

    def row(self, title: Title, *, up_to_date: bool) -> dict[str, Any]:
        """The row of the report."""
        receipt, lost = self.finished(title), self._lost(title)
        status, reason = self._status(title, receipt, lost, up_to_date)
        analysed = self.analysed(title)
        left_alone = [{"code": r.code, "detail": r.detail} for r in (analysed.rejections if analysed else ())]
        left_alone += [{"code": r.code, "detail": r.detail} for r in lost]
        return {
            "title_id": title.row.title_id,
            "language": title.row.language,
            "output": title.row.output,
            "status": status,
            "reason": reason,
            "frames": title.num_frames,
            "rendered_frames": receipt.details["rendered_frames"] if receipt else 0,
            "checks": receipt.details["checks"] if receipt else {},
            "left_alone": left_alone,
            "meta": title.row.meta,
        }

    def _status(
        self, title: Title, receipt: Receipt | None, lost: list[Rejection], up_to_date: bool
    ) -> tuple[Status, str | None]:
        if receipt is not None and self._is_there(title, receipt):
            if lost:
                return "succeeded_with_flags", f"{len(lost)} stretches could not be rendered and are as they were"
            if receipt.details["rendered_frames"] == 0:
                return "succeeded_with_flags", "no frame was changed: no usable face was found"
            return ("up_to_date" if up_to_date else "succeeded"), None
        for unit in [self.analysis(title), self.master(title)]:
            if unit is not None and (failed := self._failure(unit)) is not None:
                return failed
        return "failed_system", "it was not finished; run the same command again"

    def _failure(self, unit: Unit) -> tuple[Status, str] | None:
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

    def _lost(self, title: Title) -> list[Rejection]:
        """Stretches without a result, and why: they pass through as they were."""
        lost: list[Rejection] = []
        for unit in self.renders(title):
            receipt = self.ledger.receipt(unit.unit_id)
            if receipt is not None:
                lost += [] if receipt.is_kept else receipt.rejections[:1]
            elif (given_up := self.ledger.quarantined(unit.unit_id)) is not None:
                lost.append(Rejection(code=given_up.error_class, detail=given_up.message))
        return lost
