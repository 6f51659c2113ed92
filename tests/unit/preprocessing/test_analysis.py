"""An analysis comes back from its bytes exactly, or damage is named."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from fractions import Fraction

import numpy as np
import pytest

from preprocessing.analysis import decode_analysis, encode_analysis
from preprocessing.clip import analyse
from preprocessing.config import PreprocessConfig
from preprocessing.faces.base import Analysis, Heard
from shards.errors import ObjectDamaged, UnknownSchemaVersion
from shards.fingerprint import canonical_json, fingerprint
from shards.schema import FrameTimes
from shards.tar import run_members, sample_run
from tests.support.fakes import DotBackend, DrawnFace, MemorySource, draw


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    first = [draw([DrawnFace(x=100 + t, y=90), DrawnFace(x=230, y=90, skin=(60, 90, 200))]) for t in range(9)]
    second = [draw([], background=170) for _ in range(4)]
    config = PreprocessConfig.model_validate({"crop": {"size_px": 64}, "faces": {"max_faces": 2}})
    pts = np.cumsum(np.array([7, 40, 41, 39, 80] * 2 + [40, 40, 40], dtype=np.int64))
    found = analyse(MemorySource(first + second, pts=pts), DotBackend(), config)
    speaking = tuple(np.linspace(0, 1, len(t.track.landmarks)).astype(np.float32) for t in found.tracks)
    heard = Heard(voice=np.linspace(1, 0, len(pts)).astype(np.float32), speaking=speaking)
    return dataclasses.replace(found, heard=heard)


def test_an_analysis_comes_back_exactly(analysis: Analysis) -> None:
    back = decode_analysis(encode_analysis(analysis))
    assert (back.width, back.height, back.landmark_backend) == (analysis.width, analysis.height, "dots@1")
    assert back.shots == analysis.shots
    assert back.rejections == analysis.rejections
    assert len(back.rejections) == 1
    np.testing.assert_array_equal(back.times.pts, analysis.times.pts)
    assert back.times.base == analysis.times.base
    assert len(back.tracks) == len(analysis.tracks) == 2
    for a, b in zip(analysis.tracks, back.tracks, strict=True):
        assert (a.identity, a.track.start, a.track.shot) == (b.identity, b.track.start, b.track.shot)
        np.testing.assert_array_equal(a.track.landmarks.points, b.track.landmarks.points)
        np.testing.assert_array_equal(a.track.landmarks.confidence, b.track.landmarks.confidence)
        assert a.transform.matrices.tobytes() == b.transform.matrices.tobytes()
        assert (a.transform.size_px, a.transform.window) == (b.transform.size_px, b.transform.window)
        assert a.look is not None
        assert b.look is not None
        np.testing.assert_array_equal(a.look, b.look)
    assert analysis.heard is not None
    assert back.heard is not None
    np.testing.assert_array_equal(back.heard.voice, analysis.heard.voice)
    for number in range(2):
        np.testing.assert_array_equal(back.speaking(number), analysis.speaking(number))


def test_one_made_before_anybody_listened_says_that_nothing_is_known(analysis: Analysis) -> None:
    tracks = tuple(dataclasses.replace(t, look=None) for t in analysis.tracks)
    data = encode_analysis(dataclasses.replace(analysis, heard=None, tracks=tracks))
    members = run_members("analysis", data)
    header = json.loads(members["json"])
    # As it was written then: without a word of what may be missing.
    del header["arrays"], header["checksum"]
    older = sample_run("analysis", members | {"json": canonical_json(header | {"checksum": fingerprint(header)})})
    back = decode_analysis(older)
    assert back.heard is None
    assert back.tracks[0].look is None
    assert np.isnan(back.speaking(0)).all()
    assert back.speaking(0).shape == (9,)


def test_equal_analyses_have_equal_bytes(analysis: Analysis) -> None:
    data = encode_analysis(analysis)
    assert encode_analysis(decode_analysis(data)) == data


def test_one_without_any_face_comes_back_too() -> None:
    empty = Analysis(
        width=4,
        height=2,
        times=FrameTimes(pts=np.arange(3, dtype=np.int64), base=Fraction(1, 30)),
        shots=(),
        tracks=(),
        rejections=(),
        landmark_backend="dots@1",
    )
    assert decode_analysis(encode_analysis(empty)).tracks == ()


def test_the_bytes_are_a_tar_that_any_tool_lists(analysis: Analysis) -> None:
    with tarfile.open(fileobj=io.BytesIO(encode_analysis(analysis)), mode="r:") as tar:
        assert "analysis.json" in tar.getnames()


def test_no_flipped_byte_goes_unnoticed(analysis: Analysis) -> None:
    data = encode_analysis(analysis)
    before = fingerprint(data.hex())
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 0x20
        try:
            back = decode_analysis(bytes(damaged))
        except (ObjectDamaged, UnknownSchemaVersion):
            continue
        # Only padding and tar header fields nobody reads may change without harm.
        assert fingerprint(encode_analysis(back).hex()) == before


def test_a_cut_off_analysis_is_damaged(analysis: Analysis) -> None:
    data = encode_analysis(analysis)
    for length in (0, 100, len(data) // 2, len(data) - 512):
        with pytest.raises(ObjectDamaged):
            decode_analysis(data[:length])


def test_another_schema_version_is_refused_by_name(analysis: Analysis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("preprocessing.analysis.SCHEMA_VERSION", 99)
    data = encode_analysis(analysis)
    with pytest.raises(UnknownSchemaVersion, match="99"):
        decode_analysis(data)
