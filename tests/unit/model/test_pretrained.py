from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from model import pretrained
from model.config import ModelConfig
from model.errors import CheckpointDamaged, CheckpointMismatch, NonFiniteWeights
from model.networks import Networks
from model.pipeline import DubbingPipeline
from model.shot import Shot
from shards.errors import RequestError, UnknownSchemaVersion
from shards.schema import ClipSample


def test_a_saved_model_makes_the_same_pictures_bit_for_bit(
    pipe: DubbingPipeline, clip: ClipSample, tmp_path: Path
) -> None:
    digest = pipe.save_pretrained(tmp_path)
    again = DubbingPipeline.from_pretrained(tmp_path)
    [a], [b] = (p(Shot.of(clip, seed=3), steps=2) for p in (pipe, again))
    assert np.array_equal(a.frames, b.frames)
    assert np.array_equal(a.landmarks.points, b.landmarks.points)
    assert digest == pipe.digest == again.digest


def test_half_precision_halves_the_file_and_has_its_own_name(pipe: DubbingPipeline, tmp_path: Path) -> None:
    whole = pipe.save_pretrained(tmp_path / "whole")
    half = pipe.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / pretrained.WEIGHTS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    assert whole != half == DubbingPipeline.from_pretrained(tmp_path / "half").digest


def test_nothing_in_the_folder_is_a_pickle(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    # A safetensors file begins with the length of its JSON header; a pickle or a zip of one does not.
    head = (tmp_path / pretrained.WEIGHTS).read_bytes()
    json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])


def test_the_card_says_what_it_was_told(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, card={"figures": "PSNR 30 dB"})
    text = (tmp_path / "README.md").read_text()
    for said in ("noise", "PSNR 30 dB", "for tests only", pipe.digest, "mediapipe131"):
        assert said in text
    assert "for tests only" in DubbingPipeline.from_pretrained(tmp_path).description


def test_weights_of_another_config_are_found_out(pipe: DubbingPipeline, config: ModelConfig, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    DubbingPipeline.from_networks(Networks(config)).save_pretrained(tmp_path / "other")
    (tmp_path / "other" / pretrained.WEIGHTS).replace(tmp_path / pretrained.WEIGHTS)
    with pytest.raises(CheckpointDamaged, match="was written for"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_a_cut_file_is_found_out(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    weights = tmp_path / pretrained.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointDamaged, match="not a readable model"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_a_newer_schema_and_an_empty_folder_are_refused(pipe: DubbingPipeline, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no model here"):
        DubbingPipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"schema_version": 999}))
    with pytest.raises(UnknownSchemaVersion, match="999"):
        DubbingPipeline.from_pretrained(tmp_path)


def edited(folder: Path, **changes: object) -> None:
    """The record with other fields."""
    path = folder / pretrained.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_record_that_cannot_be_read_is_named(pipe: DubbingPipeline, tmp_path: Path, text: str) -> None:
    pipe.save_pretrained(tmp_path)
    (tmp_path / pretrained.CONFIG).write_text(text)
    with pytest.raises(CheckpointDamaged, match=r"config\.json"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_a_record_without_its_fields_is_damaged(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    edited(tmp_path, card=None)
    with pytest.raises(CheckpointDamaged, match="not a readable model"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_weights_of_another_version_of_the_networks_are_refused_by_name(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    weights = load_file(tmp_path / pretrained.WEIGHTS)
    weights["denoiser.gone.weight"] = weights.pop("denoiser.conv_out.bias")
    save_file(weights, tmp_path / pretrained.WEIGHTS)
    edited(tmp_path, digest=pretrained.digest(pipe.config_, weights))
    with pytest.raises(CheckpointMismatch, match=r"2 tensors differ.*denoiser\.conv_out\.bias absent for \(4,\)"):
        DubbingPipeline.from_pretrained(tmp_path)


def test_weights_that_are_no_numbers_are_not_saved(pipe: DubbingPipeline, tmp_path: Path) -> None:
    with torch.no_grad():
        pipe.networks.denoiser.conv_out.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(NonFiniteWeights, match=r"denoiser\.conv_out\.weight.*save whole"):
        pipe.save_pretrained(tmp_path, half=True)
    assert not list(tmp_path.iterdir())
    pipe.save_pretrained(tmp_path)


def test_a_model_is_found_where_it_was_copied_to(pipe: DubbingPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert DubbingPipeline.from_pretrained(tmp_path / "b").digest == pipe.digest


def test_half_precision_is_taken_on_loading(pipe: DubbingPipeline, tmp_path: Path) -> None:
    digest = pipe.save_pretrained(tmp_path)
    half = DubbingPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.networks.dtype == torch.bfloat16
    assert half.digest == digest
