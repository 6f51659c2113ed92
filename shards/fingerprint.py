"""Names made from content: the same value has the same fingerprint on every machine and in every process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 20


def fingerprint(*parts: object) -> str:
    """64 hex digits over plain values, dataclasses and pydantic models. Dictionary order does not matter, type does."""
    return hashlib.sha256(canonical_json(list(parts))).hexdigest()


def canonical_json(value: object) -> bytes:
    """One byte string per value: keys sorted, no spaces, floats in their shortest exact form, no NaN."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def plain(value: object) -> Any:
    """The JSON shape of a config, dataclass, fraction or path; refuses what has no one obvious shape."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="python"))
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes | bytearray):
        items = [plain(v) for v in value]
        return sorted(items) if isinstance(value, set | frozenset) else items
    raise TypeError(f"no canonical form for {type(value).__name__}")


def file_sha256(path: Path) -> str:
    """The sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
