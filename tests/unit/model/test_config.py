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


def test_versions_of_features_are_recorded_from_a_clip_and_another_is_refused_naming_both(config: ModelConfig) -> None:
    recorded = config.condition.recording(make_clip(1, size=32, features=("phones", "mel")))
    assert recorded.feature_versions == ("test-1",)
    recorded.check_sample(make_clip(2, size=32))
    with pytest.raises(CheckpointMismatch) as caught:
        recorded.check(feature_versions={"phones": "7", "mel": "2"})
    assert caught.value.field == "feature_versions[mel]"
    assert "'test-1'" in str(caught.value)
    assert "'2'" in str(caught.value)


def test_a_condition_that_knows_no_versions_takes_any_and_is_written_as_before(config: ModelConfig) -> None:
    config.condition.check(feature_versions={"mel": "2"})
    assert "feature_versions" not in config.model_dump()["condition"]
    recorded = config.condition.recording(make_clip(1, size=32))
    assert LandmarkCondition.model_validate(recorded.model_dump()) == recorded != config.condition


def test_every_feature_has_its_version_or_none_has() -> None:
    with pytest.raises(ValidationError, match="feature_versions"):
        LandmarkCondition(features=("mel", "phones"), feature_dims=(80, 42), feature_versions=("1",))


def test_a_clip_of_another_condition_has_no_versions_to_record(config: ModelConfig) -> None:
    with pytest.raises(CheckpointMismatch, match="crop_px"):
        config.condition.recording(make_clip(1, size=48))


def test_a_clip_with_more_features_than_needed_is_welcome(config: ModelConfig) -> None:
    config.condition.check_sample(make_clip(1, size=32, features=("phones", "mel")))


def test_a_field_younger_than_saved_models_is_written_only_where_it_says_something(config: ModelConfig) -> None:
    """The digest of a model covers its config: what an old one never said must not be said for it."""
    assert not {"temporal_attention", "min_snr"} & (config.denoiser.model_dump() | config.diffusion.model_dump()).keys()
    said = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"temporal_attention": True})})
    assert said.model_dump(mode="json")["denoiser"]["temporal_attention"] is True
    assert all(ModelConfig.model_validate_json(c.model_dump_json()) == c for c in (config, said))


def test_audio_in_place_of_landmarks_leaves_none_to_draw(config: ModelConfig) -> None:
    raw = config.model_dump()
    raw["denoiser"] |= {"landmarks": "audio", "landmark_map": True}
    with pytest.raises(ValidationError, match="landmark_map"):
        ModelConfig.model_validate(raw)
