"""Analysis <-> bytes: what one pass over a title's pictures found, kept so that every further language is free of it.

An uncompressed tar of the parts, each in the contract's own encoding with its own checksum: equal analyses give equal
bytes, and damage is named.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from preprocessing.faces.base import AlignedTrack, Analysis, Heard, Shot, Track
from shards.codec import (
    decode_landmarks,
    decode_times,
    decode_transform,
    encode_landmarks,
    encode_times,
    encode_transform,
)
from shards.encodings import npy_array, npy_bytes
from shards.errors import ObjectDamaged
from shards.fingerprint import canonical_json, fingerprint, plain
from shards.schema import F32, SCHEMA_VERSION, Rejection, check_schema_version
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
        members[_member(number, "landmarks")] = encode_landmarks(aligned.track.landmarks)
        members[_member(number, "transform")] = encode_transform(aligned.transform)
    arrays = {name: npy_bytes(values) for name, values in _optional(analysis).items()}
    header["arrays"] = {name: hashlib.sha256(data).hexdigest() for name, data in arrays.items()}
    members |= arrays
    members["json"] = canonical_json(header | {"checksum": fingerprint(header)})
    return sample_run(_NAME, members)


def _optional(analysis: Analysis) -> dict[str, F32]:
    """What an analysis may lack: older ones do, and those of pictures without sound."""
    found = {_member(n, "look"): t.look for n, t in enumerate(analysis.tracks) if t.look is not None}
    if analysis.heard is not None:
        found["voice"] = analysis.heard.voice
        found |= {_member(n, "speaking"): values for n, values in enumerate(analysis.heard.speaking)}
    return found


def decode_analysis(data: bytes) -> Analysis:
    """The analysis in these bytes; damage is named, and an unknown schema version refused."""
    members = run_members(_NAME, data)
    try:
        header = _header(members["json"])
        arrays = _arrays(header.get("arrays", {}), members)
        shots = _shots.validate_python(header["shots"])
        return Analysis(
            width=header["width"],
            height=header["height"],
            times=decode_times(members["times"]),
            shots=shots,
            tracks=tuple(
                _track(number, entry, shots, members, arrays) for number, entry in enumerate(header["tracks"])
            ),
            rejections=_rejections.validate_python(header["rejections"]),
            landmark_backend=header["landmark_backend"],
            heard=_heard(arrays, len(header["tracks"])),
        )
    except (KeyError, IndexError, TypeError, ValueError, ValidationError) as error:
        raise ObjectDamaged(f"the bytes of an analysis do not make one: {error}") from error


def _header(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data)
    check_schema_version(header.get("schema_version"), "stored analysis")
    if header.pop("checksum", None) != fingerprint(header):
        raise ObjectDamaged("the header of an analysis is damaged: its checksum differs")
    return header


def _arrays(checksums: Mapping[str, str], members: Mapping[str, bytes]) -> dict[str, F32]:
    for name, checksum in checksums.items():
        if hashlib.sha256(members[name]).hexdigest() != checksum:
            raise ObjectDamaged(f"`{name}` of an analysis is damaged: its checksum differs")
    return {name: npy_array(io.BytesIO(members[name]), dtype=np.float32) for name in checksums}


def _heard(arrays: Mapping[str, F32], num_tracks: int) -> Heard | None:
    if "voice" not in arrays:
        return None
    return Heard(voice=arrays["voice"], speaking=tuple(arrays[_member(n, "speaking")] for n in range(num_tracks)))


def _track(
    number: int,
    entry: dict[str, Any],
    shots: tuple[Shot, ...],
    members: Mapping[str, bytes],
    arrays: Mapping[str, F32],
) -> AlignedTrack:
    landmarks = decode_landmarks(members[_member(number, "landmarks")])
    return AlignedTrack(
        track=Track(shot=shots[entry["shot"]], start=entry["start"], landmarks=landmarks),
        transform=decode_transform(members[_member(number, "transform")]),
        identity=entry["identity"],
        look=arrays.get(_member(number, "look")),
    )


def _member(track: int, name: str) -> str:
    return f"{track:06d}.{name}"
