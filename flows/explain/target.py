"""What is this? Finds out what a target names, and asks the file of that kind.

FILE                     a title; FILE.tar: a shard, FILE.tar#KEY: a clip in it
FOLDER                   a store or a checkpoint
PRESET                   tiny, compact, base, large: how large such a model is
STORE@HASH               a dataset, by the first letters of its hash; STORE alone tells of the newest
STORE#KEY                a clip of the newest dataset, STORE@HASH#KEY of that one; also one it left out
STORE#UNIT               a unit of work
STORE#objects/...tar     a shard in a store, with #KEY a clip in it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.explain.clip import clip_facts
from flows.explain.files import checkpoint_facts, preset_facts, title_facts
from flows.explain.shard import clip_in_shard, fetched, shard_facts
from flows.explain.stores import dataset_facts, find_clip, full_hash, store_facts, unit_facts
from shards.errors import RequestError
from shards.reader import open_dataset
from shards.store import LAYOUT_PATH, Store, open_store

FORMS = (
    "FILE",
    "FILE.tar",
    "CHECKPOINT_FOLDER",
    "PRESET",
    "STORE",
    "STORE@HASH",
    "STORE#KEY",
    "STORE#UNIT",
    "STORE#objects/...",
)
PRESETS = ("tiny", "compact", "base", "large")
"""As `model/presets.py` has them (tested); naming them here keeps torch out of looking at a store."""
_SHARD = ".tar"
_KEY_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write beside the answer."""

    picture: Path | None = None
    """PNG of a clip."""
    video: Path | None = None
    """MP4 of a clip."""
    page: Path | None = None
    """HTML of a dataset."""

    def refuse(self, kind: str, *names: str) -> None:
        """Refuses the outputs that this kind of thing does not have."""
        for name in names:
            if (path := getattr(self, name)) is not None:
                has = "a dataset (STORE or STORE@HASH)" if name == "page" else "a clip (STORE#KEY)"
                raise RequestError(f"{kind} has none; name {has}", field=f"--{name}", value=str(path))


def inspect(target: str, outputs: Outputs | None = None) -> dict[str, Any]:
    """The facts as plain values; writes what `outputs` asks for."""
    outputs = outputs or Outputs()
    # A file's own name may hold the signs as well.
    if Path(target).is_file():
        return _file(Path(target), "", outputs)
    place, _, inner = target.partition("#")
    if place.endswith(_SHARD) and Path(place).is_file():
        return _file(Path(place), inner, outputs)
    folder = Path(place)
    if not inner and (folder / "config.json").is_file():
        outputs.refuse("a checkpoint", "picture", "video", "page")
        return checkpoint_facts(folder)
    if target in PRESETS and not folder.exists():
        outputs.refuse("a preset", "picture", "video", "page")
        return preset_facts(target)
    uri, name = _store_and_dataset(place)
    if "://" in uri or Path(uri, LAYOUT_PATH).is_file():
        return _in_store(open_store(uri, create=False), name, inner, outputs)
    raise RequestError(
        "nothing here that can be inspected: no media file, shard, checkpoint or store",
        field="target",
        value=target,
        choices=FORMS,
    )


def _file(path: Path, key: str, outputs: Outputs) -> dict[str, Any]:
    if path.suffix == _SHARD:
        return _shard(path, key, str(path), outputs)
    outputs.refuse("a media file", "picture", "video", "page")
    return title_facts(path)


def _store_and_dataset(place: str) -> tuple[str, str]:
    """STORE@HASH in its parts; a folder's own name, or a password in an address, may hold the sign as well."""
    uri, sign, name = place.rpartition("@")
    is_hash = bool(name) and set(name) <= set("0123456789abcdef")
    return (uri, name) if sign and is_hash and not Path(place, LAYOUT_PATH).is_file() else (place, "")


def _in_store(store: Store, name: str, inner: str, outputs: Outputs) -> dict[str, Any]:
    if inner.startswith("objects/"):
        path, _, key = inner.partition("#")
        with fetched(store, path) as local:
            return _shard(local, key, f"{store.uri}#{path}", outputs)
    if inner:
        return _clip_or_unit(store, name, inner, outputs)
    outputs.refuse("a store", "picture", "video")
    return dataset_facts(store, name, outputs.page) if name else store_facts(store, outputs.page)


def _shard(path: Path, key: str, shown_as: str, outputs: Outputs) -> dict[str, Any]:
    if key:
        outputs.refuse("a clip", "page")
        return clip_facts(clip_in_shard(path, key, shown_as), outputs.picture, outputs.video)
    outputs.refuse("a shard", "picture", "video", "page")
    return shard_facts(path, shown_as)


def _clip_or_unit(store: Store, name: str, inner: str, outputs: Outputs) -> dict[str, Any]:
    if len(inner) == _KEY_DIGITS:
        outputs.refuse("a clip", "page")
        clip = find_clip(open_dataset(store, full_hash(store, name) if name else None), inner)
        return clip_facts(clip, outputs.picture, outputs.video)
    outputs.refuse("a unit", "picture", "video", "page")
    if (found := unit_facts(store, inner)) is None:
        raise RequestError(
            f"neither a clip's key (32 digits) nor a unit's id; `dubwright inspect {store.uri}` names clips and "
            "`dubwright store status` units",
            where=store.uri,
            value=inner,
            choices=FORMS,
        )
    return found
