"""The scorecard as a page: what was aimed at, what was reached, every figure, the clips from worst to best."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.evaluation.scorecard import GROUP_FIGURES
from flows.report.page import jpeg_url, render_page
from flows.workers.evaluate import ClipVerdict

SUBJECTS = {
    "made": "generated",
    "asked": "asked of the renderer",
    "undubbed": "undubbed source",
    "neutral": "still neutral mouth",
    "carried": "perfect mouth under the dub's head",
    "real": "real clip, own speech",
    "own": "reconstruction",
    "silent": "under silence",
}
MEASURES = {
    "lips": "lip distance, eye distances",
    "lips_jaw": "lip and jaw distance, eye distances",
    "correlation": "correlation of the mouth's opening",
    "speed": "change of the opening a frame, eye distances",
    "spread": "spread of the opening, of real",
    "seen": "faces found again, share",
    "bilabial_opening": "opening at p, b, m",
    "vowel_opening": "opening at open vowels",
    "sync_distance": "sync expert's distance",
    "sync_confidence": "sync expert's confidence",
    "sync_offset": "sync expert's offset, frames",
    "psnr_mask_db": "PSNR of the generated region, dB",
    "psnr_mouth_db": "PSNR around the lips, dB",
    "ssim_mouth": "SSIM around the lips",
    "closed": "mouth closed, share of frames",
    "opening": "opening, eye distances",
    "outside_change": "change outside the mask, of 255",
}


def write_scorecard(out: Path, card: Mapping[str, Any], shown: Sequence[ClipVerdict]) -> Path:
    """scorecard.json and scorecard.html in `out`; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / "scorecard.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    page = out / "scorecard.html"
    _replace(page, scorecard_page(card, shown))
    return page


def scorecard_page(card: Mapping[str, Any], shown: Sequence[ClipVerdict]) -> str:
    by_key = {row["key"]: row for row in card["rows"]}
    clips = [
        {
            "row": by_key[verdict.key],
            "plain": jpeg_url(verdict.strip),
            "drawn": jpeg_url(verdict.strip_with_landmarks),
        }
        for verdict in shown
    ]
    return render_page(
        "evaluation.html.j2",
        card=card,
        clips=clips,
        table=_table(card["summary"]),
        subjects=SUBJECTS,
        group_figures={name: _title(name) for name in GROUP_FIGURES},
    )


def _table(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measure by subject."""
    rows = []
    for measure, title in MEASURES.items():
        cells = {subject: summary.get(f"{subject}.{measure}") for subject in SUBJECTS}
        if any(cells.values()):
            rows.append({"title": title, "cells": cells})
    return rows


def _title(figure: str) -> str:
    subject, _, measure = figure.partition(".")
    return f"{SUBJECTS[subject]}: {MEASURES[measure].partition(',')[0]}"


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
