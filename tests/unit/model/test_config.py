from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.config import LandmarkCondition, ModelConfig
from model.errors import CheckpointMismatch
from tests.support.clips import make_clip


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="crop_pixels"):
        LandmarkCondition.model_validate({"crop_pixels": 64})


def test_every_feature_has_its_width() -> None:
    with pytest.raises(ValidationError, match="feature_dims"):
        LandmarkCondition(features=("mel", "phones"), feature_dims=(80,))


def test_a_crop_that_the_levels_cannot_halve_is_refused(config: ModelConfig) -> None:
    raw = config.model_dump()
    raw["condition"]["crop_px"] = 40
    raw["denoiser"] |= {"channels": (8, 8, 8, 8), "attention": (True,) * 4}
    with pytest.raises(ValidationError, match="not divisible"):
        ModelConfig.model_validate(raw)


@pytest.mark.parametrize(
    ("clip", "field", "both"),
    [
        ({"topology": "ibug68"}, "topology", ("mediapipe131", "ibug68")),
        ({"window": "face"}, "window", ("lower_face", "face")),
        ({"size": 48}, "crop_px", ("32", "48")),
        ({"features": ("phones",)}, "features", ("mel", "phones")),
    ],
)
def test_a_clip_of_another_condition_is_refused_naming_both(
    config: ModelConfig, clip: dict[str, object], field: str, both: tuple[str, str]
) -> None:
    sample = make_clip(1, **({"size": 32} | clip))  # type: ignore[arg-type]
    with pytest.raises(CheckpointMismatch) as caught:
        config.condition.check_sample(sample)
    assert caught.value.field == field
    assert all(value in str(caught.value) for value in both)


def test_a_clip_with_more_features_than_needed_is_welcome(config: ModelConfig) -> None:
    config.condition.check_sample(make_clip(1, size=32, features=("phones", "mel")))
