"""A clip <-> the members of its sample, and its parts <-> bytes; every encode stands beside its decode.

A sample is a handful of flat members that common tools open: `frames.mjpeg` plays, `speech.flac` sounds, `json` tells
the rest. The json holds the sha256 of every other member and of itself, so damage is found and named before anything
is decoded. How bytes of one kind are made is `encodings.py`'s, how members lie in a tar is `tar.py`'s.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from shards.crop import CropWindow
from shards.encodings import flac_bytes, flac_samples, mjpeg_bytes, mjpeg_frames, npy_array, npy_bytes
from shards.errors import ObjectDamaged
from shards.fingerprint import plain
from shards.schema import (
    AudioFeatures,
    ClipSample,
    CropTransform,
    FrameTimes,
    Landmarks,
    Provenance,
    Speech,
)
from shards.sealed import sealed_json, unsealed

HEADER, FRAMES, SPEECH = "json", "frames.mjpeg", "speech.flac"
LANDMARKS, CONFIDENCE, TRANSFORM = "landmarks.npy", "confidence.npy", "transform.npy"
REQUIRED_MEMBERS = frozenset({HEADER, FRAMES, SPEECH, LANDMARKS, CONFIDENCE, TRANSFORM})

# Readers of WebDataset lower the case of extensions, and a dot or slash would move the key's end.
_FEATURE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_window: TypeAdapter[CropWindow] = TypeAdapter(CropWindow)
_provenance: TypeAdapter[Provenance] = TypeAdapter(Provenance)


# -- a whole clip ------------------------------------------------------------------------------------------------------


def encode_clip(clip: ClipSample, *, jpeg_quality: int = 95) -> dict[str, bytes]:
    """Member extension -> bytes. Exact but for the pictures, which are JPEG."""
    pictures, lengths = mjpeg_bytes(clip.frames, quality=jpeg_quality)
    members = {
        FRAMES: pictures,
        SPEECH: flac_bytes(clip.speech.samples, clip.speech.rate_hz),
        LANDMARKS: npy_bytes(clip.landmarks.points),
        CONFIDENCE: npy_bytes(clip.landmarks.confidence),
        TRANSFORM: npy_bytes(clip.transform.matrices),
    }
    for feature in clip.features:
        member = _feature_member(feature.name)
        if member in members:
            raise ValueError(f"clip {clip.key}: two members named {member!r}")
        members[member] = npy_bytes(feature.values)
    header = _header(clip) | {
        "frames": {"bytes": list(lengths), "jpeg_quality": jpeg_quality},
        "members": {name: _sha256(data) for name, data in members.items()},
    }
    return {HEADER: sealed_json(header)} | members


def decode_clip(key: str, members: Mapping[str, bytes]) -> ClipSample:
    """The clip in these members; damage is named, and an unknown schema version refused."""
    header = checked_header(key, members)
    try:
        return _clip(header, members)
    except (ObjectDamaged, KeyError, TypeError, ValueError, ValidationError) as error:
        raise ObjectDamaged(f"clip {key}: its members do not make a clip: {error}") from error


def checked_header(key: str, members: Mapping[str, bytes]) -> dict[str, Any]:
    """The json of a sample whose every member is there and has the bytes the json says; nothing is decoded."""
    if HEADER not in members:
        raise ObjectDamaged(f"clip {key}: member `{HEADER}` is missing")
    header = unsealed(members[HEADER], f"clip {key}: member `{HEADER}`")
    if header.get("key") != key:
        raise ObjectDamaged(f"clip {key}: member `{HEADER}` is of clip {header.get('key')!r}")
    recorded = header["members"]
    if missing := sorted((REQUIRED_MEMBERS - {HEADER} | recorded.keys()) - members.keys()):
        raise ObjectDamaged(f"clip {key}: missing {', '.join(f'`{m}`' for m in missing)}")
    if extra := sorted(members.keys() - recorded.keys() - {HEADER}):
        raise ObjectDamaged(f"clip {key}: members nobody recorded: {', '.join(f'`{m}`' for m in extra)}")
    for name, digest in recorded.items():
        if _sha256(members[name]) != digest:
            raise ObjectDamaged(f"clip {key}: member `{name}` is damaged ({len(members[name])} bytes, other content)")
    return header


def _header(clip: ClipSample) -> dict[str, Any]:
    for name, score in clip.scores.items():
        if not np.isfinite(score):
            raise ValueError(f"clip {clip.key}: score {name!r} is {score}; leave out what was not measured")
    return {
        "key": clip.key,
        "times": _times_meta(clip.times),
        "landmarks": _landmarks_meta(clip.landmarks),
        "transform": _transform_meta(clip.transform),
        "speech": {"rate_hz": clip.speech.rate_hz, "origin_s": plain(clip.speech.origin_s)},
        "features": [_features_meta(f) for f in clip.features],
        "identity": clip.identity,
        "language": clip.language,
        "scores": {name: float(score) for name, score in clip.scores.items()},
        "provenance": plain(clip.provenance),
    }


def _clip(header: Mapping[str, Any], members: Mapping[str, bytes]) -> ClipSample:
    transform, speech = header["transform"], header["speech"]
    return ClipSample(
        key=header["key"],
        frames=mjpeg_frames(members[FRAMES], header["frames"]["bytes"], size_px=transform["size_px"]),
        times=_times(header["times"]),
        landmarks=_landmarks(header["landmarks"], io.BytesIO(members[LANDMARKS]), io.BytesIO(members[CONFIDENCE])),
        transform=_transform(transform, io.BytesIO(members[TRANSFORM])),
        speech=Speech(
            samples=flac_samples(members[SPEECH], rate_hz=speech["rate_hz"]),
            rate_hz=speech["rate_hz"],
            origin_s=Fraction(speech["origin_s"]),
        ),
        features=tuple(_features(f, io.BytesIO(members[_feature_member(f["name"])])) for f in header["features"]),
        identity=header["identity"],
        language=header["language"],
        scores=header["scores"],
        provenance=_provenance.validate_python(header["provenance"]),
    )


# -- one part alone, for caches: a line of json, then its arrays as .npy, one after the other --------------------------


def encode_times(times: FrameTimes) -> bytes:
    return _blob("times", _times_meta(times))


def decode_times(data: bytes) -> FrameTimes:
    meta, _ = _unblob("times", data)
    return _times(meta)


def encode_landmarks(landmarks: Landmarks) -> bytes:
    arrays = npy_bytes(landmarks.points) + npy_bytes(landmarks.confidence)
    return _blob("landmarks", _landmarks_meta(landmarks), arrays)


def decode_landmarks(data: bytes) -> Landmarks:
    meta, arrays = _unblob("landmarks", data)
    return _landmarks(meta, arrays, arrays)


def encode_transform(transform: CropTransform) -> bytes:
    return _blob("transform", _transform_meta(transform), npy_bytes(transform.matrices))


def decode_transform(data: bytes) -> CropTransform:
    meta, arrays = _unblob("transform", data)
    return _transform(meta, arrays)


def encode_features(features: AudioFeatures) -> bytes:
    return _blob("features", _features_meta(features), npy_bytes(features.values))


def decode_features(data: bytes) -> AudioFeatures:
    meta, arrays = _unblob("features", data)
    return _features(meta, arrays)


def _blob(kind: str, meta: dict[str, Any], arrays: bytes = b"") -> bytes:
    return sealed_json({"kind": kind, "meta": meta, "arrays": _sha256(arrays)}) + b"\n" + arrays


def _unblob(kind: str, data: bytes) -> tuple[dict[str, Any], io.BytesIO]:
    line, _, arrays = data.partition(b"\n")
    header = unsealed(line, f"stored {kind}")
    if header["kind"] != kind:
        raise ObjectDamaged(f"stored {header['kind']} where {kind} should be")
    if _sha256(arrays) != header["arrays"]:
        raise ObjectDamaged(f"stored {kind}: its arrays are damaged")
    return header["meta"], io.BytesIO(arrays)


# -- each part: what its json says ------------------------------------------------------------------------------------


def _times_meta(times: FrameTimes) -> dict[str, Any]:
    return {"pts": times.pts.tolist(), "base": plain(times.base)}


def _times(meta: Mapping[str, Any]) -> FrameTimes:
    return FrameTimes(pts=np.array(meta["pts"], dtype=np.int64), base=Fraction(meta["base"]))


def _landmarks_meta(landmarks: Landmarks) -> dict[str, Any]:
    return {"topology": landmarks.topology_name, "space": landmarks.space}


def _landmarks(meta: Mapping[str, Any], points: io.BytesIO, confidence: io.BytesIO) -> Landmarks:
    return Landmarks(
        points=npy_array(points, dtype=np.float32),
        confidence=npy_array(confidence, dtype=np.float32),
        topology_name=meta["topology"],
        space=meta["space"],
    )


def _transform_meta(transform: CropTransform) -> dict[str, Any]:
    # The window goes in by value: data stay readable as they were made when a preset of that name moves.
    return {"size_px": transform.size_px, "window": plain(transform.window)}


def _transform(meta: Mapping[str, Any], matrices: io.BytesIO) -> CropTransform:
    return CropTransform(
        matrices=npy_array(matrices, dtype=np.float64),
        size_px=meta["size_px"],
        window=_window.validate_python(meta["window"]),
    )


def _features_meta(features: AudioFeatures) -> dict[str, Any]:
    return {
        "name": features.name,
        "version": features.version,
        "hop_s": plain(features.hop_s),
        "origin_s": plain(features.origin_s),
        "silence": [float(v) for v in features.silence],
    }


def _features(meta: Mapping[str, Any], values: io.BytesIO) -> AudioFeatures:
    return AudioFeatures(
        name=meta["name"],
        version=meta["version"],
        values=npy_array(values, dtype=np.float32),
        hop_s=Fraction(meta["hop_s"]),
        origin_s=Fraction(meta["origin_s"]),
        silence=np.array(meta["silence"], dtype=np.float32),
    )


def _feature_member(name: str) -> str:
    if not _FEATURE_NAME.fullmatch(name):
        raise ValueError(f"an audio feature's name is lower-case letters, digits, '_' and '-', not {name!r}")
    return f"{name}.npy"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
