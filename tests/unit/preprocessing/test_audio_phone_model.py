"""The phone model against the library whose files it reads: the same sound, the same scores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pocketsphinx
import pytest

from preprocessing.audio.cepstra import RATE_HZ, cepstra
from preprocessing.audio.phone_model import PHONES, load_phone_model, read_phone_model
from preprocessing.errors import ToolMissing
from tests.support.spoken import spoken

FOLDER = Path(pocketsphinx.get_model_path("en-us/en-us"))
SCORE_UNIT = 1024 * np.log(1.0001)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return spoken()[0].samples


@pytest.fixture(scope="module")
def library(sound: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, list[Any]]:
    """(scores, segments) of pocketsphinx on that sound: every phone in every frame, no noise removal."""
    model, scores = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("scores")
    for file in FOLDER.iterdir():
        shutil.copy(file, model)
    params = (FOLDER / "feat.params").read_text().replace("-remove_noise yes", "-remove_noise no")
    (model / "feat.params").write_text(params)
    decoder = pocketsphinx.Decoder(
        hmm=str(model),
        allphone=pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin"),
        senlogdir=str(scores),
        beam=1e-300,
        pbeam=1e-300,
        lw=2.0,
        loglevel="FATAL",
    )
    decoder.start_utt()
    decoder.process_raw(sound.tobytes(), full_utt=True)
    decoder.end_utt()
    return read_scores(next(scores.iterdir()).read_bytes()), list(decoder.seg())


def read_scores(data: bytes) -> np.ndarray:
    """(N, 126) of the states without context; -1 where the library did not look."""
    body, rows = data[data.index(b"endhdr\n") + 11 :], []
    while body:
        count = int.from_bytes(body[:2], "little")
        which = np.cumsum(np.frombuffer(body, np.uint8, count, 2))
        row = np.full(3 * len(PHONES), -1)
        row[which] = np.frombuffer(body, "<i2", count, 2 + count)
        rows.append(row)
        body = body[2 + 3 * count :]
    return np.stack(rows)


def our_scores(sound: np.ndarray) -> np.ndarray:
    """The same, as the library lays its frames: windows begin at the first sample, the whole recording is the mean."""
    count = (len(sound) - 410) // 160 + 1
    base = cepstra(sound.astype(np.float64), 205, 160, count)
    base = base - base[base[:, 0] >= 0].mean(axis=0)

    def shifted(by: int) -> np.ndarray:
        return base[np.clip(np.arange(count) + by, 0, count - 1)]

    streams = (base, shifted(2) - shifted(-2), shifted(3) - shifted(-1) - shifted(1) + shifted(-3))
    found = load_phone_model().log_likelihood(streams).reshape(count, -1)
    return (found.max(axis=1, keepdims=True) - found) / SCORE_UNIT


def test_the_scores_are_the_librarys(sound: np.ndarray, library: tuple[np.ndarray, list[Any]]) -> None:
    theirs, ours = library[0], our_scores(sound)
    # At the ends the library's slopes are of its own making.
    rows = slice(10, min(len(theirs), len(ours)) - 10)
    theirs, ours = theirs[rows], ours[rows]
    assert np.mean(theirs.argmin(axis=1) == ours.argmin(axis=1)) > 0.85
    # It cuts off what is far from the best, and rounds: 4 Gaussians of 128, whole units, a floor 96 units deep.
    near = (theirs >= 0) & (theirs < 90)
    assert np.median(np.abs(theirs - ours)[near]) < 6


def test_the_likeliest_phone_of_a_segment_is_mostly_the_decoders(
    sound: np.ndarray, library: tuple[np.ndarray, list[Any]]
) -> None:
    ours = our_scores(sound).reshape(-1, len(PHONES), 3).min(axis=2)
    segments = [s for s in library[1] if s.end_frame < len(ours)]
    same = [PHONES[ours[s.start_frame : s.end_frame + 1].mean(axis=0).argmin()] == s.word for s in segments]
    assert len(same) > 10
    assert np.mean(same) > 0.75


def test_cepstra_do_not_depend_on_how_many_are_asked_for(monkeypatch: pytest.MonkeyPatch, sound: np.ndarray) -> None:
    x = sound[:RATE_HZ].astype(np.float64)
    whole = cepstra(x, -100, 40, 300)
    monkeypatch.setattr("preprocessing.audio.cepstra._BLOCK", 7)
    np.testing.assert_allclose(cepstra(x, -100, 40, 300), whole, atol=1e-9)
    np.testing.assert_allclose(cepstra(x, -100 + 40 * 50, 40, 10), whole[50:60], atol=1e-9)


@pytest.mark.parametrize("file", ["mdef", "means", "sendump"])
def test_a_model_that_cannot_be_read_is_named(file: str, tmp_path: Path) -> None:
    for name in ("mdef", "means", "variances", "sendump"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / file).write_bytes((FOLDER / file).read_bytes()[:300])
    with pytest.raises(ToolMissing, match=str(tmp_path)):
        read_phone_model(tmp_path)


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="no phone model"):
        read_phone_model(tmp_path / "nowhere")
