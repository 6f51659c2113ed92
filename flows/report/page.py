"""How any page an operator reads is made from its template: self-contained, and what it is given is text, never markup.

A dubbing run's page is filled by `dub.py`, a dataset's by `dataset.py`.
"""

from __future__ import annotations

import base64
import functools
from importlib import resources

import jinja2


def render_page(template: str, **values: object) -> str:
    """The page of a template beside this file."""
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.FunctionLoader(_template)
    )


def jpeg_url(jpeg: bytes) -> str:
    """A picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _template(name: str) -> str:
    return resources.files("flows.report").joinpath(name).read_text(encoding="utf-8")
