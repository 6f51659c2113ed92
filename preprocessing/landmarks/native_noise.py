"""Native libraries write to file descriptor 2 behind Python's back: here that goes to our log instead.

Only for short, single-threaded moments such as loading a network: the descriptor belongs to the whole process.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def noise_to_log(logger: logging.Logger) -> Iterator[None]:
    """What native code says meanwhile is logged at DEBUG, and so are Python's warnings; nothing is thrown away."""
    said: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught, _descriptor_2_to(said):
            warnings.simplefilter("always")
            yield
    finally:
        for warning in caught:
            logger.debug("%s: %s", warning.category.__name__, warning.message)
        for line in said:
            logger.debug("%s", line)


@contextmanager
def _descriptor_2_to(lines: list[str]) -> Iterator[None]:
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines.extend(file.read().decode(errors="replace").splitlines())
