"""A tar of samples, on disk or in a store: what is in it, or one clip of it. Damage is told sample by sample."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from shards.codec import checked_header, decode_clip
from shards.errors import ObjectDamaged, ObjectMissing, RequestError
from shards.schema import ClipSample
from shards.store import Store

SAMPLES_SHOWN = 20
Sample = tuple[str, dict[str, bytes]]
"""Key, and extension -> bytes."""


@contextmanager
def fetched(store: Store, path: str) -> Iterator[Path]:
    """The object as a local file, for as long as it is looked at."""
    with tempfile.TemporaryDirectory(prefix="dubwright-inspect-") as scratch:
        local = Path(scratch, Path(path).name)
        try:
            store.fetch(path, local)
        except ObjectMissing as error:
            raise RequestError(
                f"no such object; `dubwright inspect {store.uri}` names the shards", where=store.uri, value=path
            ) from error
        yield local


def shard_facts(path: Path, shown_as: str) -> dict[str, Any]:
    """How many samples, of whom, how large; the first of them by name."""
    shown: list[str] = []
    damaged: list[str] = []
    members: dict[str, int] = {}
    identities: set[str] = set()
    samples = frames = 0
    for key, parts in samples_of(path):
        samples += 1
        for name, data in parts.items():
            members[name] = members.get(name, 0) + len(data)
        try:
            header = checked_header(key, parts)
        except ObjectDamaged as error:
            damaged.append(str(error))
            continue
        count = len(header["frames"]["bytes"])
        frames += count
        identities.add(header["identity"])
        if len(shown) < SAMPLES_SHOWN:
            shown.append(f"{shown_as}#{key} ({count} frames of {header['identity']})")
    return {
        "kind": "shard",
        "path": shown_as,
        "size_mb": round(path.stat().st_size / 1e6, 3),
        "samples": samples,
        "frames": frames,
        "identities": len(identities),
        "members_mb": {name: round(size / 1e6, 3) for name, size in sorted(members.items())},
        "damaged": damaged,
        "clips": shown,
    }


def clip_in_shard(path: Path, key: str, shown_as: str) -> ClipSample:
    """The clip of that key."""
    for found, parts in samples_of(path):
        if found == key:
            return decode_clip(key, parts)
    raise RequestError(f"no such sample; `dubwright inspect '{shown_as}'` names those in it", where=shown_as, value=key)


def samples_of(path: Path) -> Iterator[Sample]:
    """The samples in order, one in memory at a time."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            regular = (info for info in tar if info.isfile())
            for key, infos in groupby(regular, key=lambda info: info.name.partition(".")[0]):
                parts = {}
                for info in infos:
                    stream = tar.extractfile(info)
                    parts[info.name.partition(".")[2]] = stream.read() if stream is not None else b""
                yield key, parts
    except (tarfile.TarError, OSError) as error:
        raise ObjectDamaged(f"{path.name} is no whole tar: {error}") from error
