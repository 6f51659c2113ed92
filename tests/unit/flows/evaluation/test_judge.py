"""The judge, given what must come out: a model that makes exactly the right mouth, and one that does nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from flows.evaluation.config import EvaluationConfig
from flows.evaluation.judge import Judge
from flows.evaluation.measures import CLOSED
from model.choice import References, choose
from model.config import LandmarkCondition
from model.metrics import openings
from model.shot import DubbedClip, Sampling, Shot, Take
from model.sync import SyncConfig, SyncExpert
from model.training.sync import save_expert
from shards.errors import RequestError
from shards.schema import F32, ClipSample, Landmarks
from tests.support.talking import SIZE_PX, talking_clip


class Puppeteer:
    """Stands in for the pipeline: puts known frames of the clip under each shot."""

    condition = LandmarkCondition(crop_px=SIZE_PX)

    def __init__(self, clip: ClipSample, by: int) -> None:
        self.clip, self.by = clip, by

    def choose_references(self, frames: np.ndarray, landmarks: object) -> References:
        return choose(frames, landmarks, num_pictures=1, num_faces=12)  # type: ignore[arg-type]

    def __call__(self, shots: Sequence[Shot], *, steps: int, batch_size: int) -> list[DubbedClip]:
        turned, own = shots
        rows = np.roll(np.arange(len(turned.frames)), -self.by)
        return [self._made(rows), self._made(np.arange(len(own.frames)))]

    def predict_landmarks(self, features: object, times_s: np.ndarray, landmarks: Landmarks, _: object) -> Landmarks:
        """A mouth that hears nothing and stays as wide open as this person's goes."""
        widest = self.clip.landmarks.points[int(np.argmax(openings(self.clip.landmarks)))]
        return dataclasses.replace(landmarks, points=np.repeat(widest[None], len(times_s), axis=0))

    def render_all(self, takes: Sequence[Take], sampling: Sampling) -> list[np.ndarray]:
        """Of each asked mouth the frame whose own is nearest; pressed lips are shut lips."""
        own = gap(self.clip.landmarks)
        return [self.clip.frames[np.abs(gap(take.target)[:, None] - own).argmin(axis=1)] for take in takes]

    def _made(self, rows: np.ndarray) -> DubbedClip:
        points, confidence = self.clip.landmarks.points[rows], self.clip.landmarks.confidence[rows]
        landmarks = dataclasses.replace(self.clip.landmarks, points=points, confidence=confidence)
        return DubbedClip(frames=self.clip.frames[rows], landmarks=landmarks)


def gap(landmarks: Landmarks) -> F32:
    """From the upper inner lip down to the lower one, crop px."""
    upper, lower = landmarks.topology.inner_lip_mid
    return np.asarray(landmarks.points[:, lower, 1] - landmarks.points[:, upper, 1], dtype=np.float32)


@pytest.fixture(scope="module")
def clip() -> ClipSample:
    return talking_clip()


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    """With an untrained expert: its word is heard, whatever it is."""
    folder = tmp_path_factory.mktemp("expert")
    save_expert(folder, SyncExpert(SyncConfig(frames=5, side_px=16, channels=(8,), width=8)).eval())
    made = Judge(EvaluationConfig(expert=str(folder)))
    made.setup()
    yield made
    made.close()


def test_the_right_mouth_at_the_right_time_is_told_from_doing_nothing(judge: Judge, clip: ClipSample) -> None:
    half = len(clip.frames) // 2
    right = judge.judge(Puppeteer(clip, half), clip).figures  # type: ignore[arg-type]
    idle = judge.judge(Puppeteer(clip, 0), clip).figures  # type: ignore[arg-type]
    assert right["made.lips"] < 0.3 * right["undubbed.lips"]
    assert right["made.correlation"] > 0.95
    assert idle["made.lips"] == pytest.approx(idle["undubbed.lips"])
    assert idle["made.correlation"] < 0.5
    assert idle["made.outside_change"] == 0


def test_reconstruction_silence_and_the_baselines_are_told(judge: Judge, clip: ClipSample) -> None:
    told = judge.judge(Puppeteer(clip, 0), clip).figures  # type: ignore[arg-type]
    assert told["own.psnr_mouth_db"] > 90
    assert told["own.lips"] == 0
    assert told["silent.closed"] == 1
    assert told["silent.opening"] < CLOSED
    assert 0 < told["neutral.lips"] < 2 * told["undubbed.lips"]
    assert 0 <= told["carried.lips"] < told["undubbed.lips"]
    assert told["real.speed"] > 0


def test_the_sync_expert_hears_the_turned_speech_under_what_was_made(judge: Judge, clip: ClipSample) -> None:
    told = judge.judge(Puppeteer(clip, 0), clip).figures  # type: ignore[arg-type]
    assert told["made.sync_distance"] == pytest.approx(told["undubbed.sync_distance"])
    assert told["real.sync_distance"] != pytest.approx(told["undubbed.sync_distance"], abs=1e-6)


def test_the_truth_beside_the_result_is_the_frame_whose_mouth_is_right(judge: Judge, clip: ClipSample) -> None:
    half = len(clip.frames) // 2
    judged = judge.judge(Puppeteer(clip, half), clip)  # type: ignore[arg-type]
    np.testing.assert_array_equal(judged.truth.frames, judged.made.frames)


def test_a_clip_of_another_crop_is_refused(judge: Judge, clip: ClipSample) -> None:
    other = Puppeteer(clip, 0)
    other.condition = LandmarkCondition(crop_px=32)
    with pytest.raises(RequestError, match="32"):
        judge.judge(other, clip)  # type: ignore[arg-type]


def test_a_long_clip_is_dubbed_as_far_as_was_asked(clip: ClipSample, judge: Judge) -> None:
    short = Judge(EvaluationConfig(max_frames=24))
    short._faces = judge._faces
    assert len(short.judge(Puppeteer(clip, 12), clip).clip.frames) == 24  # type: ignore[arg-type]
