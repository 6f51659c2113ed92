"""Writes one unit's clips as an ordinary WebDataset tar, and believes it only after reading it back.

Works on a temporary local file; `commit.Ledger.put_object` gives it its name. Equal clips give equal bytes.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType

from shards.codec import checked_header, decode_clip, encode_clip
from shards.errors import ObjectDamaged
from shards.fingerprint import file_sha256
from shards.records import SampleEntry
from shards.schema import ClipSample
from shards.tar import END, run_members, sample_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A sealed tar: complete, on disk, and read back."""

    path: Path
    sha256: str
    size_bytes: int
    entries: tuple[SampleEntry, ...]


class FragmentWriter:
    """`with FragmentWriter(path) as writer:` add clips, then `seal()`; what is not sealed is removed."""

    def __init__(self, path: Path, jpeg_quality: int = 95) -> None:
        self._path, self._jpeg_quality = path, jpeg_quality
        self._entries: list[SampleEntry] = []
        self._sealed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("wb")

    def __enter__(self) -> FragmentWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stream.close()
        if not self._sealed:
            self._path.unlink(missing_ok=True)

    def add(self, clip: ClipSample) -> SampleEntry:
        """Appends the clip; a key is in a tar once."""
        if any(entry.key == clip.key for entry in self._entries):
            raise ValueError(f"clip {clip.key} is already in {self._path.name}")
        run = sample_run(clip.key, encode_clip(clip, jpeg_quality=self._jpeg_quality))
        entry = SampleEntry(
            key=clip.key,
            offset=self._stream.tell(),
            size_bytes=len(run),
            identity=clip.identity,
            language=clip.language,
            duration_s=_duration_s(clip),
            num_frames=len(clip.times),
            scores={name: float(score) for name, score in clip.scores.items()},
        )
        self._stream.write(run)
        self._entries.append(entry)
        return entry

    def seal(self) -> Fragment:
        """Ends the tar, puts it on the disk, reads it back and checks it."""
        if not self._entries:
            raise ValueError("a tar of no clips; a unit without any commits its rejections and no object")
        self._stream.write(END)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        entries = tuple(self._entries)
        check_fragment(self._path, entries)
        self._sealed = True
        size = self._path.stat().st_size
        return Fragment(path=self._path, sha256=file_sha256(self._path), size_bytes=size, entries=entries)


def check_fragment(path: Path, entries: tuple[SampleEntry, ...]) -> None:
    """Raises `ObjectDamaged` unless the tar holds exactly these samples, every member as its json says."""
    named = [(key, len(list(members))) for key, members in groupby(_member_keys(path))]
    if [key for key, _ in named] != [entry.key for entry in entries]:
        raise ObjectDamaged(f"{path.name}: its members are not, side by side, those of the {len(entries)} clips added")
    with path.open("rb") as stream:
        for entry, (_, count) in zip(entries, named, strict=True):
            stream.seek(entry.offset)
            members = run_members(entry.key, stream.read(entry.size_bytes))
            checked_header(entry.key, members)
            if len(members) != count:
                raise ObjectDamaged(f"{path.name}: clip {entry.key} has {count} members, {len(members)} in its place")
    # Checksums say that the bytes are those we made; that they can be decoded is shown on one.
    decode_clip(entry.key, members)


def _member_keys(path: Path) -> Iterator[str]:
    """The key of each member in order, as any reader of tars meets them: without our offsets."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            for info in tar:
                yield info.name.partition(".")[0]
    except tarfile.TarError as error:
        raise ObjectDamaged(f"{path.name} is no tar: {error}") from error


def _duration_s(clip: ClipSample) -> float:
    """From the first frame to the end of the last, which is taken to last as long as the one before."""
    seconds = clip.times.seconds()
    if len(seconds) < 2:
        return clip.speech.duration_s
    return float(2 * seconds[-1] - seconds[-2] - seconds[0])
