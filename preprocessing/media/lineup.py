"""Which streams a finished title has: in which order, under which flags, names and languages.

Owns the choice and the account of what could not come along. The command that puts them together is `mux.py`, the proof
that they are there is `check.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from preprocessing.media.delivery import Delivery
from preprocessing.media.hdr import StaticHdr
from preprocessing.media.tracks import Container, TrackLabel, iso639, whole_tag

SubtitlePolicy = Literal["keep", "drop", "not_default"]
"""keep: as the source has them. drop: none. not_default: all, and none of them shown unasked."""

# One thing under two names: what containers read back is the second.
_SAME = {"captions": "hearing_impaired", "descriptions": "visual_impaired"}
_NOT_ROLES = {"attached_pic", "timed_thumbnails", "still_image", "dependent", "multilayer", "non_diegetic"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """What of the source's other streams is wanted."""

    keep_audio: bool = True
    dub_default: bool = True
    """Otherwise the source's default sound stays the default, and the dub comes after the source's sounds."""
    subtitles: SubtitlePolicy = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One stream of the finished file."""

    origin: Literal["picture", "speech", "source"]
    index: int
    """In the file it comes from."""
    kind: str
    codec: str
    flags: frozenset[str] = frozenset()
    name: str | None = None
    language: str | None = None
    """As given: any language tag."""
    hdr: StaticHdr = field(default_factory=StaticHdr)
    is_cover: bool = False

    @property
    def code(self) -> str | None:
        return iso639(self.language) if self.language else None

    @property
    def is_last(self) -> bool:
        """Covers and attachments are read back behind everything else, wherever they were put."""
        return self.is_cover or self.kind == "attachment"

    def label(self) -> TrackLabel:
        return TrackLabel(
            name=self.name,
            code=self.code,
            language=whole_tag(self.language) if self.language else None,
            hdr=self.hdr,
            is_enabled="default" in self.flags or self.kind not in ("subtitle", "audio"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """Every stream of the finished file, in order."""

    tracks: tuple[Track, ...]
    notes: tuple[str, ...]

    @property
    def dub(self) -> int:
        return next(n for n, track in enumerate(self.tracks) if track.origin == "speech")

    def summary(self) -> tuple[str, ...]:
        return tuple(f"{track.kind} {track.codec}" for track in self.tracks)


def line_up(
    header: Mapping[str, Any],
    languages: Mapping[int, str],
    main: int,
    container: Container,
    dub: Delivery,
    *,
    made: str,
    language: str | None,
    wanted: Tracks,
    hdr: StaticHdr,
) -> Lineup:
    """Picture, sounds, then whatever else of the source the container carries, in the source's order.

    `languages` are the source's whole tags by stream, `main` its picture, `made` the new picture's codec.
    """
    notes = list(dub.notes)
    raw = {int(s["index"]): s for s in header["streams"]}
    others = [_track(s, languages) for index, s in raw.items() if index != main]
    kept = [track for track in others if _is_kept(track, raw[track.index], container, wanted, notes)]
    picture = replace(
        _track(raw[main], languages), origin="picture", index=0, codec=made, flags=frozenset({"default"}), hdr=hdr
    )
    speech = Track(
        origin="speech",
        index=dub.track.index,
        kind="audio",
        codec=dub.track.codec,
        flags=frozenset({"dub"}),
        name=f"Dub ({language})" if language else None,
        language=language,
    )
    if language is not None and iso639(language) is None:
        notes.append(f"the language {language} has no three-letter code; players that read no other see `und`")
    sounds = _sounds(speech, [t for t in kept if t.kind == "audio"], dub_default=wanted.dub_default)
    rest = [_quiet(t) if wanted.subtitles == "not_default" else t for t in kept if t.kind != "audio"]
    rest.sort(key=lambda track: track.is_last)
    tracks = [_carried(track, container, notes) for track in (picture, *sounds, *rest)]
    return Lineup(tracks=tuple(tracks), notes=tuple(notes))


def _sounds(dub: Track, others: list[Track], *, dub_default: bool) -> list[Track]:
    if others and not dub_default:
        return [*others, dub]
    undone = [replace(track, flags=track.flags - {"default"}) for track in others]
    return [replace(dub, flags=dub.flags | {"default"}), *undone]


def _quiet(track: Track) -> Track:
    is_subtitle = track.kind == "subtitle"
    return replace(track, flags=track.flags - {"default", "forced"}) if is_subtitle else track


def _track(raw: Mapping[str, Any], languages: Mapping[int, str]) -> Track:
    tags, flags = raw.get("tags", {}), {name for name, is_set in raw["disposition"].items() if is_set}
    return Track(
        origin="source",
        index=int(raw["index"]),
        kind=str(raw.get("codec_type", "unknown")),
        codec=str(raw.get("codec_name", "unknown")),
        flags=frozenset(_SAME.get(name, name) for name in flags - _NOT_ROLES),
        name=tags.get("title"),
        language=languages.get(int(raw["index"]), tags.get("language")),
        is_cover="attached_pic" in flags,
    )


def _is_kept(track: Track, raw: Mapping[str, Any], container: Container, wanted: Tracks, notes: list[str]) -> bool:
    what = "sound track" if track.kind == "audio" else "subtitle track" if track.kind == "subtitle" else "stream"
    if (track.kind == "audio" and not wanted.keep_audio) or (track.kind == "subtitle" and wanted.subtitles == "drop"):
        notes.append(f"{what} {track.index} ({track.codec}) was left out, as asked")
        return False
    is_carried = _travels(track, container)
    if not is_carried and not is_made_anew(raw):
        kind = "cover picture" if track.is_cover else track.kind
        notes.append(f"{container.muxer} does not carry stream {track.index} ({kind} {track.codec}); left out")
    return is_carried


def _travels(track: Track, container: Container) -> bool:
    if track.kind == "audio":
        return container.carries_audio(track.codec)
    if track.kind == "subtitle":
        return container.carries_subtitles(track.codec)
    if track.kind == "attachment":
        return container.has_attachments
    if track.kind == "video":
        return container.has_covers if track.is_cover else track.codec in container.video
    return False


def _carried(track: Track, container: Container, notes: list[str]) -> Track:
    """With the flags that the container keeps; the others are named."""
    lost = sorted(track.flags - container.flags)
    if lost and track.origin == "source":
        notes.append(f"{container.muxer} keeps no flag `{'`, `'.join(lost)}`: stream {track.index} has lost it")
    return replace(track, flags=track.flags & container.flags)


def is_made_anew(raw: Mapping[str, Any]) -> bool:
    """Whether a stream is a timecode or the names of chapters: the container makes these tracks itself.

    By its kind as well, because QuickTime's subtitles go by the same four letters as its chapter names.
    """
    return raw.get("codec_type") == "data" and raw.get("codec_tag_string") in ("tmcd", "text")


def flags_of(raw: Mapping[str, Any], container: Container) -> frozenset[str]:
    """The flags a finished stream shows, of those its container keeps."""
    found: Iterable[str] = (name for name, is_set in raw["disposition"].items() if is_set)
    return frozenset(_SAME.get(name, name) for name in found) & container.flags
