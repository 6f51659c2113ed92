"""A tar as the stock `webdataset` library sees it: what a user without our reader gets."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path


def stock_samples(path: Path | str) -> list[tuple[str, dict[str, bytes]]]:
    """(key, extension -> bytes) of every sample, in order."""
    with warnings.catch_warnings():
        # The library leaves the tar open until it is collected; that is not ours to fix, and happens in here.
        warnings.simplefilter("ignore")
        import webdataset

        found = [
            (sample["__key__"], {name: data for name, data in sample.items() if not name.startswith("__")})
            for sample in webdataset.WebDataset(str(path), shardshuffle=False)
        ]
        gc.collect()
    return found
