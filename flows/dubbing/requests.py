"""What a row asks for, as one name; and which finished file it came to.

To find out what a row's master would be, its picture's analysis and its speech must be read. A note beside the commit
records remembers the answer: `requests/{request}.json` names the master unit of the row. It is a shortcut and no
record: what it names is looked up among the commits, and without it everything is only slower.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.dubbing.run import STAGES
from flows.title import Title, Voice
from flows.version import stage_version
from shards.errors import ObjectMissing
from shards.fingerprint import fingerprint
from shards.store import Store

_NOT_ASKED = {"number", "priority", "meta", "rights_end", "video", "audio", "checkpoint", "segments", "speaker_map"}
"""Columns that change nothing of the file, or are named by the content of the files they point at."""


def request_of(title: Title, voice: Voice, settings: Mapping[str, Any], sha256: Callable[[Path], str]) -> str:
    """A name for all that the row's file depends on; `settings` are those of the run that it depends on."""
    row = title.row
    turns = [
        (str(s.start), str(s.end), s.speaker, sha256(s.audio) if s.audio is not None else None) for s in row.segments
    ]
    people = {who: sha256(Path(what)) if Path(what).is_file() else what for who, what in row.speaker_map.items()}
    asked = row.model_dump(mode="json", exclude=_NOT_ASKED)
    versions = [stage_version(stage) for stage in STAGES]
    return fingerprint(versions, title.video_sha256, title.audio_sha256, voice.digest, asked, turns, people, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Where a row's request led."""

    master: str
    """Unit id."""
    lost: tuple[str, ...]
    """Units that were given up and that the file was made without; when one is tried again, the file is old."""
    account: Mapping[str, Any]
    """What the report says of its shots."""


class Notes:
    """The notes of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, request: str) -> Note | None:
        try:
            said = json.loads(self._store.read(self._path(request)))
        except ObjectMissing:
            return None
        return Note(master=said["master"], lost=tuple(said["lost"]), account=said["account"])

    def write(self, request: str, *, master: str, lost: Sequence[str], account: Mapping[str, Any]) -> Note:
        note = Note(master=master, lost=tuple(lost), account=account)
        text = json.dumps({"master": master, "lost": list(lost), "account": account}, sort_keys=True)
        self._store.write(self._path(request), text.encode())
        return note

    @staticmethod
    def _path(request: str) -> str:
        return f"requests/{request}.json"


class Outputs:
    """The names of files that runs of a store write, or wrote: what lies there under such a name is ours to replace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(self, names: Sequence[str]) -> None:
        """Before the first of them is written: a run that is killed right after would not know its own file."""
        for name in names:
            self._store.create(self._path(name), json.dumps({"output": name}).encode())

    def has(self, name: str) -> bool:
        return self._store.exists(self._path(name))

    @staticmethod
    def _path(name: str) -> str:
        return f"outputs/{fingerprint(name)}.json"
