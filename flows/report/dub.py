"""The report of a dubbing run: pages for people, tables for programs, edit lists for editors.

    OUT/report.html         the page; above about sixty titles their details are pages of their own
    OUT/report.json         all of it
    OUT/results.parquet     a row per output
    OUT/flags.csv           a line per flag
    OUT/contact.jpg         source and result of every output
    OUT/report/NAME.edl     an output's flags as an edit list
    OUT/report/NAME.html    an output's details, where the page leaves them out

Owns which file says what, and that each appears whole or not at all. What is said is `flows/dubbing/account.py`'s.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.casting import REASONS
from flows.report.edl import flags_edl
from flows.report.figures import figures, frame_rate
from flows.report.page import jpeg_url, render_page
from flows.report.sheet import contact_sheet
from flows.report.tables import flags_csv, results_parquet

DETAILS = "report"
"""Folder of what there is one of per output."""
MOST_INLINE = 60
MOST_LINES_INLINE = 3000
"""Titles, and lines of their tables, up to which all is one page: with more no browser opens it quickly."""
MOST_LINES = 2000
"""Of one table of a title; report.json has the rest."""
_TEMPLATE = "dub.html.j2"


def write_dub_report(out: Path, report: Mapping[str, Any], strips: Mapping[str, bytes]) -> Path:
    """Writes all files into `out`; `strips` has a JPEG for each output name. Returns the page."""
    rows: Sequence[Mapping[str, Any]] = report["rows"]
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    files = {"report.json": text.encode(), "results.parquet": results_parquet(rows), "flags.csv": flags_csv(rows)}
    if (sheet := contact_sheet(rows, strips)) is not None:
        files["contact.jpg"] = sheet
    files |= {edl_path(row): flags_edl(row).encode() for row in rows if not row["status"].startswith("failed")}
    # The page comes last: what it leads to is there.
    for name, data in [*files.items(), *_pages(out, report, strips, has_sheet=sheet is not None)]:
        _replace(out / name, data)
    return out / "report.html"


def edl_path(row: Mapping[str, Any]) -> str:
    return f"{DETAILS}/{row['output']}.edl"


def page_path(row: Mapping[str, Any]) -> str:
    return f"{DETAILS}/{row['output']}.html"


def is_one_page(rows: Sequence[Mapping[str, Any]]) -> bool:
    lines = sum(len(row["shots"]) + len(row["flags"]) for row in rows)
    return len(rows) <= MOST_INLINE and lines <= MOST_LINES_INLINE


def _pages(
    out: Path, report: Mapping[str, Any], strips: Mapping[str, bytes], *, has_sheet: bool
) -> Iterable[tuple[str, bytes]]:
    """(path, page), the overview last; one at a time, for the pictures are in them."""
    rows, one_page = report["rows"], is_one_page(report["rows"])
    for number, row in enumerate(rows):
        if not one_page:
            told = _told(row, number, out, page_path(row), strips)
            page = render_page(_TEMPLATE, report=report, overview=[], titles=[told], home=_up(page_path(row)), files={})
            yield page_path(row), page.encode()
    titles = [_told(row, n, out, "report.html", strips) for n, row in enumerate(rows)] if one_page else []
    overview = [
        {
            **_about(row),
            "link": f"#title-{number}" if one_page else quote(page_path(row)),
        }
        for number, row in enumerate(rows)
    ]
    files = {"report.json": "report.json", "results.parquet": "results.parquet", "flags.csv": "flags.csv"}
    files |= {"contact sheet": "contact.jpg"} if has_sheet else {}
    page = render_page(_TEMPLATE, report=report, overview=overview, titles=titles, home="", files=files)
    yield "report.html", page.encode()


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "output": row["output"],
        "title_id": row["title_id"],
        "language": row["language"],
        "status": row["status"],
        "frames": row["frames"],
        "duration_s": row["duration_s"],
        **figures(row),
    }


def _told(row: Mapping[str, Any], number: int, out: Path, page: str, strips: Mapping[str, bytes]) -> dict[str, Any]:
    """A title as its part of a page shows it; links lead from that page."""
    strip, folder = strips.get(row["output"]), (out / page).parent
    is_there = not row["status"].startswith("failed")
    return {
        "id": f"title-{number}",
        **row,
        **figures(row),
        "rate": frame_rate(row),
        "result_link": _link(out / row["output"], folder) if is_there else None,
        "source_link": _link(Path(row["video"]), folder),
        "edl_link": _link(out / edl_path(row), folder) if is_there else None,
        "strip": jpeg_url(strip) if strip is not None else None,
        "flags": row["flags"][:MOST_LINES],
        "shots": row["shots"][:MOST_LINES],
        "not_shown": max(len(row["flags"]) - MOST_LINES, 0) + max(len(row["shots"]) - MOST_LINES, 0),
        "left": _by_code(row["left_alone"]),
    }


def _by_code(reasons: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often each code and for how many frames; the commonest first."""
    found: dict[str, dict[str, Any]] = {}
    for reason in reasons:
        code = reason["code"]
        told = found.setdefault(
            code, {"code": code, "means": REASONS.get(code, reason["detail"]), "times": 0, "frames": 0}
        )
        told["times"] += 1
        told["frames"] += reason["stop"] - reason["start"]
    return sorted(found.values(), key=lambda told: (-told["frames"], told["code"]))


def _link(path: Path, folder: Path) -> str:
    """Relative, so that the folder may move together with its sources; a name is never taken for an address."""
    return quote(os.path.relpath(path, folder))


def _up(page: str) -> str:
    return "../" * page.count("/") + "report.html"


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all: a reader never sees half a page, and two runs at once do not share a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
