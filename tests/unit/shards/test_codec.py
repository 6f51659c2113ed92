"""A clip comes back from its members; damage is named; the parts come back alone."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shards.codec import (
    REQUIRED_MEMBERS,
    decode_clip,
    decode_features,
    decode_landmarks,
    decode_times,
    decode_transform,
    encode_clip,
    encode_features,
    encode_landmarks,
    encode_times,
    encode_transform,
)
from shards.crop import CropWindow
from shards.errors import ObjectDamaged, UnknownSchemaVersion
from shards.schema import AudioFeatures, ClipSample, FrameTimes, Landmarks
from tests.support.clips import make_clip


def assert_same(found: Any, expected: Any) -> None:
    """Field by field, arrays bit by bit."""
    assert type(found) is type(expected)
    for name in (f.name for f in fields(expected)):
        a, b = getattr(found, name), getattr(expected, name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
        elif hasattr(b, "__dataclass_fields__"):
            assert_same(a, b)
        elif isinstance(b, tuple) and b and hasattr(b[0], "__dataclass_fields__"):
            assert len(a) == len(b), name
            for x, y in zip(a, b, strict=True):
                assert_same(x, y)
        else:
            assert a == b, name


def without_pictures(clip: ClipSample) -> ClipSample:
    return replace(clip, frames=np.zeros_like(clip.frames))


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 9),
    topology=st.sampled_from(["mediapipe131", "ibug68"]),
    window=st.sampled_from(["lower_face", "face"]),
    features=st.sampled_from([(), ("mel",), ("mel", "hubert-base")]),
    language=st.sampled_from([None, "pt-BR"]),
    identity=st.text(min_size=1),
)
def test_a_clip_comes_back_exactly_but_for_its_pictures(
    seed: int,
    frames: int,
    topology: str,
    window: str,
    features: tuple[str, ...],
    language: str | None,
    identity: str,
) -> None:
    try:
        identity.encode()
    except UnicodeEncodeError:
        identity = "lone surrogate"
    clip = make_clip(
        seed, frames, identity=identity, topology=topology, window=window, language=language, features=features
    )
    back = decode_clip(clip.key, encode_clip(clip))
    assert_same(without_pictures(back), without_pictures(clip))
    assert np.abs(back.frames.astype(int) - clip.frames).max() <= 16


def test_equal_clips_give_equal_bytes() -> None:
    assert encode_clip(make_clip(4)) == encode_clip(make_clip(4))
    assert encode_clip(make_clip(4)) != encode_clip(make_clip(5))


def test_a_clip_has_the_members_that_are_required() -> None:
    assert encode_clip(make_clip(0)).keys() == REQUIRED_MEMBERS | {"mel.npy"}


def test_frames_without_the_face_stay_not_a_number() -> None:
    clip = make_clip(0)
    clip.landmarks.points[2] = np.nan
    assert not decode_clip(clip.key, encode_clip(clip)).landmarks.seen()[2]


def test_a_window_is_kept_by_value_whatever_its_name_means_later() -> None:
    window = CropWindow(name="face", centre=(0.1, 0.3), side=1.7, mask_box=(-1.0, 0.0, 1.0, 1.5), mask_radius=0.25)
    clip = make_clip(0)
    clip = replace(clip, transform=replace(clip.transform, window=window))
    assert decode_clip(clip.key, encode_clip(clip)).transform.window == window


@pytest.mark.parametrize("member", sorted(REQUIRED_MEMBERS | {"mel.npy"}))
def test_a_missing_member_is_named(member: str) -> None:
    clip = make_clip(7)
    members = encode_clip(clip)
    del members[member]
    with pytest.raises(ObjectDamaged, match=rf"{clip.key}.*`{member}`|`{member}`.*missing"):
        decode_clip(clip.key, members)


@pytest.mark.parametrize("member", sorted(REQUIRED_MEMBERS | {"mel.npy"}))
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_single_changed_bit_is_found_and_its_member_named(member: str, place: float) -> None:
    clip = make_clip(7)
    members = encode_clip(clip)
    data = bytearray(members[member])
    data[int(place * len(data))] ^= 1
    members[member] = bytes(data)
    with pytest.raises(ObjectDamaged, match=rf"{clip.key}: member `{member}` is damaged"):
        decode_clip(clip.key, members)


def test_a_member_nobody_recorded_is_refused() -> None:
    clip = make_clip(7)
    with pytest.raises(ObjectDamaged, match="nobody recorded: `cls`"):
        decode_clip(clip.key, {**encode_clip(clip), "cls": b"1"})


def test_the_members_of_another_clip_are_refused() -> None:
    clip = make_clip(7)
    with pytest.raises(ObjectDamaged, match=f"is of clip '{clip.key}'"):
        decode_clip("f" * 32, encode_clip(clip))


def test_a_newer_schema_version_is_refused_by_name_even_if_its_checksum_is_made_otherwise() -> None:
    clip = make_clip(7)
    members = encode_clip(clip)
    members["json"] = json.dumps({**json.loads(members["json"]), "schema_version": 99}).encode()
    with pytest.raises(UnknownSchemaVersion, match="99"):
        decode_clip(clip.key, members)


@pytest.mark.parametrize("name", ["Mel", "a.b", "a/b", "", "-x"])
def test_a_feature_whose_name_would_not_survive_in_a_tar_is_refused(name: str) -> None:
    clip = make_clip(0)
    clip = replace(clip, features=(replace(clip.features[0], name=name),))
    with pytest.raises(ValueError, match="feature's name"):
        encode_clip(clip)


@pytest.mark.parametrize("name", ["landmarks", "transform"])
def test_a_feature_that_would_take_a_members_place_is_refused(name: str) -> None:
    clip = make_clip(0)
    clip = replace(clip, features=(replace(clip.features[0], name=name),))
    with pytest.raises(ValueError, match=f"two members named '{name}.npy'"):
        encode_clip(clip)


def test_a_score_that_is_no_number_is_refused_by_name() -> None:
    clip = replace(make_clip(0), scores={"sync": float("nan")})
    with pytest.raises(ValueError, match="score 'sync' is nan"):
        encode_clip(clip)


class TestParts:
    @given(
        pts=st.lists(st.integers(-(2**62), 2**62), unique=True, max_size=20).map(sorted),
        base=st.fractions(min_value=Fraction(1, 10**6), max_value=1),
    )
    def test_times_come_back(self, pts: list[int], base: Fraction) -> None:
        times = FrameTimes(pts=np.array(pts, dtype=np.int64), base=base)
        assert_same(decode_times(encode_times(times)), times)

    @given(
        points=arrays(np.float32, st.tuples(st.integers(0, 3), st.just(68), st.just(2))),
        space=st.sampled_from(["source", "crop"]),
    )
    def test_landmarks_come_back(self, points: Any, space: Any) -> None:
        confidence = np.linspace(0, 1, len(points), dtype=np.float32)
        landmarks = Landmarks(points=points, confidence=confidence, topology_name="ibug68", space=space)
        assert_same(decode_landmarks(encode_landmarks(landmarks)), landmarks)

    def test_a_transform_comes_back(self) -> None:
        transform = make_clip(3).transform
        assert_same(decode_transform(encode_transform(transform)), transform)

    @given(
        values=arrays(np.float32, st.tuples(st.integers(0, 4), st.just(3)), elements=st.floats(width=32)),
        silence=arrays(np.float32, 3, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
        hop_s=st.fractions(min_value=Fraction(1, 1000), max_value=1),
        origin_s=st.fractions(),
    )
    def test_features_come_back(self, values: Any, silence: Any, hop_s: Fraction, origin_s: Fraction) -> None:
        features = AudioFeatures(
            name="mel", version="1", values=values, silence=silence, hop_s=hop_s, origin_s=origin_s
        )
        assert_same(decode_features(encode_features(features)), features)

    def test_a_part_of_another_kind_is_refused(self) -> None:
        with pytest.raises(ObjectDamaged, match="stored times where landmarks should be"):
            decode_landmarks(encode_times(make_clip(0).times))

    @pytest.mark.parametrize("place", [0.0, 0.3, 0.99])
    def test_a_changed_bit_in_a_part_is_found(self, place: float) -> None:
        data = bytearray(encode_features(make_clip(0).features[0]))
        data[int(place * len(data))] ^= 1
        with pytest.raises(ObjectDamaged, match="stored features"):
            decode_features(bytes(data))

    def test_a_part_cut_short_is_found(self) -> None:
        with pytest.raises(ObjectDamaged, match="its arrays are damaged"):
            decode_transform(encode_transform(make_clip(0).transform)[:-8])
