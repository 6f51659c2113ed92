"""Whether something is left in the folder for temporary files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def left_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Temporary files go into a folder of their own; the function says what lies there."""
    own = folder / "temporary"
    own.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    try:
        yield lambda: sorted(path.name for path in own.iterdir())
    finally:
        monkeypatch.setattr(tempfile, "tempdir", None)
