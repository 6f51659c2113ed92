"""Tars as the stock `webdataset` library sees them: what a user without our reader gets."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def stock_samples(
    tars: Path | str | Sequence[Path | str], *, is_decoded: bool = False
) -> list[tuple[str, dict[str, Any]]]:
    """(key, extension -> bytes) of every sample, in order; decoded, extension -> what the library makes of it."""
    paths = [str(path) for path in ([tars] if isinstance(tars, Path | str) else tars)]
    with warnings.catch_warnings():
        # The library leaves the tar open until it is collected; that is not ours to fix, and happens in here.
        warnings.simplefilter("ignore")
        import webdataset

        pipeline = webdataset.WebDataset(paths, shardshuffle=False)
        found = [
            (sample["__key__"], {name: data for name, data in sample.items() if not name.startswith("__")})
            for sample in (pipeline.decode() if is_decoded else pipeline)
        ]
        gc.collect()
    return found
