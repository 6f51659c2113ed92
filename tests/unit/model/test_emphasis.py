from __future__ import annotations

import numpy as np
import pytest

from model.config import CompletionConfig
from model.emphasis import emphasised
from model.landmarks import opening
from model.presets import preset
from shards.topology import topology
from tests.support.lips import landmarks

LAYOUT = topology("mediapipe131")
REFERENCES = landmarks(np.array([0.0, 0.1, 0.2, 0.3, 0.4])).points
CONTENT = list(LAYOUT.content)


def opened(made: np.ndarray) -> np.ndarray:
    return np.asarray(opening(made, LAYOUT)) / (opening(REFERENCES, LAYOUT)[-1] / 0.4)


def test_a_mouth_opens_and_closes_further_from_its_rest() -> None:
    said = landmarks(np.array([0.05, 0.1, 0.2])).points  # at rest it is open by 0.1
    made = emphasised(said, REFERENCES, LAYOUT, 1.5)
    np.testing.assert_allclose(opened(made), [0.025, 0.1, 0.25], atol=2e-3)
    np.testing.assert_array_equal(made[:, list(LAYOUT.pose)], said[:, list(LAYOUT.pose)])


def test_no_mouth_is_closed_beyond_shut() -> None:
    said = landmarks(np.array([0.02])).points
    np.testing.assert_allclose(opened(emphasised(said, REFERENCES, LAYOUT, 3.0)), [0.0], atol=2e-3)


@pytest.mark.parametrize(
    ("references", "by"),
    [(REFERENCES, 1.0), (REFERENCES[:1], 1.5), (landmarks(np.full(5, 0.1)).points, 1.5)],
    ids=["none is asked for", "one face", "all open alike"],
)
def test_nothing_is_changed_where_nobody_knows_how(references: np.ndarray, by: float) -> None:
    said = landmarks(np.array([0.05, 0.3])).points
    np.testing.assert_array_equal(emphasised(said, references, LAYOUT, by), said)


def test_unseen_frames_stay_unseen() -> None:
    said = landmarks(np.array([0.05, 0.3])).points
    said[0] = np.nan
    made = emphasised(said, REFERENCES, LAYOUT, 1.5)
    assert np.isnan(made[0, CONTENT]).all()
    assert np.isfinite(made[1]).all()


def test_a_model_without_emphasis_is_written_as_it_always_was() -> None:
    assert "emphasis" not in CompletionConfig().model_dump()
    assert preset("compact").completion.emphasis == 1.4
