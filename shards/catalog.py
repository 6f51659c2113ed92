"""Which datasets a store holds, and which of them is the newest.

    datasets/{hash}/index.parquet    a row per sample
    datasets/{hash}/dataset.json     the figures; written last, so a dataset is whole or not there
    CURRENT/000001 ...               generations, each created exclusively: the hash that was the newest from then on

A publisher notes the generation before it looks at what is done, and at the end may only create the one right after.
So one that fell asleep on the way cannot make an older dataset the newest again. What a dataset says is `index.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shards.errors import ObjectDamaged
from shards.store import Store

CURRENT_FOLDER = "CURRENT/"

_GENERATION = re.compile(r"CURRENT/(\d{6,})")
_HASH = re.compile(r"[0-9a-f]{64}")
_INFO = re.compile(r"datasets/([^/]+)/dataset\.json")


@dataclass(frozen=True, slots=True)
class Generation:
    """What was the newest dataset at some moment."""

    number: int
    """0 before the first is published."""
    dataset: str | None


def generation_path(number: int) -> str:
    return f"{CURRENT_FOLDER}{number:06d}"


def published(store: Store) -> list[str]:
    """The hashes of all datasets, sorted."""
    return [match[1] for path in store.list("datasets/") if (match := _INFO.fullmatch(path))]


def current_dataset(store: Store) -> str | None:
    """The hash of the newest dataset, or None before the first is published."""
    return current_generation(store).dataset


def current_generation(store: Store) -> Generation:
    """The highest generation there is."""
    number = max(generations(store), default=0)
    if number == 0:
        return Generation(0, None)
    path = generation_path(number)
    name = store.read(path).decode(errors="replace").strip()
    if not _HASH.fullmatch(name):
        raise ObjectDamaged(
            f"{store.uri}/{path} should hold a dataset's hash and holds {name[:80]!r}; "
            "remove it, and the dataset before it is the newest until the next one is published"
        )
    return Generation(number, name)


def generations(store: Store) -> Iterator[int]:
    """The numbers of all generations."""
    for path in store.list(CURRENT_FOLDER):
        if match := _GENERATION.fullmatch(path):
            yield int(match[1])


def make_current(store: Store, name: str, noted: Generation) -> bool:
    """Makes the dataset the newest, unless another became so after `noted`; whether it is the newest now."""
    if noted.dataset != name:
        store.create(generation_path(noted.number + 1), name.encode() + b"\n")
    return current_dataset(store) == name
