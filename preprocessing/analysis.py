"""Analysis <-> bytes: what one pass over a title's pictures found, kept so that every further language is free of it.

An uncompressed tar of the parts, each in the contract's own encoding with its own checksum: equal analyses give equal
bytes, and damage is named.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from preprocessing.faces.base import AlignedTrack, Analysis, Shot, Track
from shards.codec import (
    decode_landmarks,
    decode_times,
    decode_transform,
    encode_landmarks,
    encode_times,
    encode_transform,
)
from shards.errors import ObjectDamaged
from shards.fingerprint import canonical_json, fingerprint, plain
from shards.schema import SCHEMA_VERSION, Rejection, check_schema_version
from shards.tar import run_members, sample_run

_NAME = "analysis"
_shots: TypeAdapter[tuple[Shot, ...]] = TypeAdapter(tuple[Shot, ...])
_rejections: TypeAdapter[tuple[Rejection, ...]] = TypeAdapter(tuple[Rejection, ...])


def encode_analysis(analysis: Analysis) -> bytes:
    """One byte string per analysis; `decode_analysis` gives it back exactly."""
    header: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "width": analysis.width,
        "height": analysis.height,
        "shots": plain(analysis.shots),
        "tracks": [
            {"shot": aligned.track.shot.index, "start": aligned.track.start, "identity": aligned.identity}
            for aligned in analysis.tracks
        ],
        "rejections": plain(analysis.rejections),
        "landmark_backend": analysis.landmark_backend,
    }
    members = {"times": encode_times(analysis.times)}
    for number, aligned in enumerate(analysis.tracks):
        members[f"{number:06d}.landmarks"] = encode_landmarks(aligned.track.landmarks)
        members[f"{number:06d}.transform"] = encode_transform(aligned.transform)
    members["json"] = canonical_json(header | {"checksum": fingerprint(header)})
    return sample_run(_NAME, members)


def decode_analysis(data: bytes) -> Analysis:
    """The analysis in these bytes; damage is named, and an unknown schema version refused."""
    members = run_members(_NAME, data)
    try:
        header = _header(members["json"])
        shots = _shots.validate_python(header["shots"])
        return Analysis(
            width=header["width"],
            height=header["height"],
            times=decode_times(members["times"]),
            shots=shots,
            tracks=tuple(_track(number, entry, shots, members) for number, entry in enumerate(header["tracks"])),
            rejections=_rejections.validate_python(header["rejections"]),
            landmark_backend=header["landmark_backend"],
        )
    except (KeyError, IndexError, TypeError, ValueError, ValidationError) as error:
        raise ObjectDamaged(f"the bytes of an analysis do not make one: {error}") from error


def _header(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data)
    check_schema_version(header.get("schema_version"), "stored analysis")
    if header.pop("checksum", None) != fingerprint(header):
        raise ObjectDamaged("the header of an analysis is damaged: its checksum differs")
    return header


def _track(number: int, entry: dict[str, Any], shots: tuple[Shot, ...], members: dict[str, bytes]) -> AlignedTrack:
    landmarks = decode_landmarks(members[f"{number:06d}.landmarks"])
    track = Track(shot=shots[entry["shot"]], start=entry["start"], landmarks=landmarks)
    transform = decode_transform(members[f"{number:06d}.transform"])
    return AlignedTrack(track=track, transform=transform, identity=entry["identity"])
