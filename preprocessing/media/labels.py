"""Track labels in finished files: what ffmpeg neither writes nor reads, in whichever container.

Owns the choice between `matroska.py` and `isobmff.py`, which know the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from preprocessing.media import isobmff, matroska
from preprocessing.media.tracks import Container, TrackLabel


def full_languages(path: Path, header: Mapping[str, Any]) -> dict[int, str]:
    """Stream index -> whole language tag, of the streams that say more than three letters; empty for other containers.

    Raises `LayoutError` where the file's table of tracks cannot be read.
    """
    kind = str(header["format"].get("format_name", ""))
    if "matroska" in kind:
        tracks = [s for s in header["streams"] if not _is_attachment(s)]
        tags = matroska.full_languages(path)
        return {s["index"]: tag for s, tag in zip(tracks, tags, strict=False) if tag}
    if "mov" in kind:
        found = isobmff.full_languages(path)
        ids = {int(s["id"], 16): int(s["index"]) for s in header["streams"] if "id" in s}
        return {ids[track]: tag for track, tag in found.items() if track in ids}
    return {}


def room(container: Container, name: str | None, wanted: TrackLabel) -> str | None:
    """The name under which ffmpeg writes a track that is labelled afterwards; None where it needs no other name."""
    needs_room = container.is_matroska and (wanted.language or wanted.hdr)
    return f"{name or ''}{matroska.ROOM}" if needs_room else None


def add_labels(path: Path, container: Container, labels: Sequence[TrackLabel]) -> None:
    """Labels the tracks of a finished file, in their order."""
    if not container.is_matroska:
        isobmff.label(path, labels)
    elif any(wanted.language or wanted.hdr for wanted in labels):
        matroska.label(path, [wanted if wanted.language or wanted.hdr else None for wanted in labels])


def _is_attachment(stream: Mapping[str, Any]) -> bool:
    return stream.get("codec_type") == "attachment" or bool(stream["disposition"].get("attached_pic"))
