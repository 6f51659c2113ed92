"""What the commit records say of a catalogue's rows: what is to do, what is done, what became of each.

Owns every question about a dubbing run's state; nothing else remembers anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flows.titles import Title, Voice, analysis_config, analysis_unit, master_unit, render_units
from flows.workers.master import STRIP_SUFFIX
from shards.commit import Ledger, Quarantine, Receipt, Unit

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
        """The unit that finishes the row, from what was rendered; None when its picture could not be analysed."""
        analysed = self.analysed(title)
        if analysed is None or not analysed.is_kept:
            return None
        receipts = [self.ledger.receipt(unit.unit_id) for unit in self.renders(title)]
        return master_unit(title, [r for r in receipts if r is not None and r.is_kept])

    # -- what became of a row

    def finished(self, title: Title) -> Receipt | None:
        """The commit of the finished file, or None."""
        unit = self.master(title)
        receipt = None if unit is None else self.ledger.receipt(unit.unit_id)
        return receipt if receipt is not None and receipt.is_kept else None

    def is_current(self, title: Title) -> bool:
        """The row is finished, and its file is still the one that was finished."""
        receipt = self.finished(title)
        path = self.out / title.row.output
        return receipt is not None and path.is_file() and path.stat().st_size == receipt.details["size_bytes"]

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
        left_alone += [{"code": q.error_class, "detail": q.message} for q in lost]
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
        self, title: Title, receipt: Receipt | None, lost: list[Quarantine], up_to_date: bool
    ) -> tuple[Status, str | None]:
        if receipt is not None:
            if lost:
                return "succeeded_with_flags", f"{len(lost)} stretches could not be rendered and are as they were"
            if receipt.details["rendered_frames"] == 0:
                return "succeeded_with_flags", "no frame was changed: no usable face was found"
            return ("up_to_date" if up_to_date else "succeeded"), None
        units = [self.analysis(title), *([unit] if (unit := self.master(title)) is not None else [])]
        for unit in units:
            if (entry := self.ledger.quarantined(unit.unit_id)) is not None:
                return "failed_system", f"{unit.stage}: {entry.error_class}: {entry.message}"
            rejected = self.ledger.receipt(unit.unit_id)
            if rejected is not None and not rejected.is_kept:
                return "failed_input", f"{unit.stage}: " + "; ".join(r.detail for r in rejected.rejections)
        return "failed_system", "it was not finished; run the same command again"

    def _lost(self, title: Title) -> list[Quarantine]:
        """Stretches given up on: they pass through as they were."""
        found = (self.ledger.quarantined(unit.unit_id) for unit in self.renders(title))
        return [entry for entry in found if entry is not None]
