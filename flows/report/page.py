"""The pages an operator reads: one self-contained HTML file for a dubbing run, and its twin in JSON.

Also how any page is made from its template; a dataset's is filled by `dataset.py`.
"""

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
    pictures = {name: jpeg_url(data) for name, data in strips.items()}
    return render_page("dub.html.j2", report=report, strips=pictures)


def render_page(template: str, **values: object) -> str:
    """The page of a template beside this file; what it is given is text, never markup."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.FunctionLoader(_template)
    )
    return environment.get_template(template).render(values)


def jpeg_url(jpeg: bytes) -> str:
    """A picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _template(name: str) -> str:
    return resources.files("flows.report").joinpath(name).read_text(encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: a reader never sees half a page, and two runs at once do not share a part."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
