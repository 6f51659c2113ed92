"""The pages an operator reads: one self-contained HTML file for a dubbing run, and its twin in JSON."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2


def write_report(out: Path, report: Mapping[str, Any], strips: Mapping[str, bytes]) -> Path:
    """Writes report.html and report.json into `out`; `strips` has a JPEG for each output name. Returns the page."""
    _replace(out / "report.json", json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    page = out / "report.html"
    _replace(page, render(report, strips))
    return page


def render(report: Mapping[str, Any], strips: Mapping[str, bytes]) -> str:
    """The page; every picture is inside it, so it can be mailed."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = resources.files("flows.report").joinpath("dub.html.j2").read_text(encoding="utf-8")
    pictures = {name: "data:image/jpeg;base64," + base64.b64encode(data).decode() for name, data in strips.items()}
    return environment.from_string(source).render(report=report, strips=pictures)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a page, and two runs at once do not share a part."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
