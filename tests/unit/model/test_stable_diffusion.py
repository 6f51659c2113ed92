from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file

from model.config import AutoencoderConfig, CompletionConfig, LandmarkCondition, ModelConfig
from model.networks import Networks
from model.stable_diffusion import Transfer, load_unet
from shards.errors import RequestError

CHANNELS = (8, 16, 16)


def config(prediction: str = "epsilon", **denoiser: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {
            "name": "small",
            "condition": LandmarkCondition(crop_px=32),
            "completion": CompletionConfig(width=16, layers=1, heads=2, feedforward=32),
            "autoencoder": AutoencoderConfig(channels=(8, 8), norm_groups=4),
            "denoiser": {
                "channels": CHANNELS,
                "blocks": 2,
                "attention": (True, True, False),
                "head_dim": 8,
                "landmark_width": 8,
                "norm_groups": 4,
                **denoiser,
            },
            "diffusion": {"prediction": prediction},
        }
    )


@pytest.fixture(scope="module")
def theirs() -> UNet2DConditionModel:
    """Stable Diffusion's U-Net in small: the same blocks, the same names."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )


@pytest.fixture(scope="module")
def folder(theirs: UNet2DConditionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stable-diffusion")
    theirs.save_pretrained(folder / "unet", safe_serialization=True)
    return folder


@pytest.fixture
def networks() -> Networks:
    return Networks(config())


@pytest.fixture
def report(networks: Networks, folder: Path) -> Transfer:
    return load_unet(networks.denoiser, networks.reference, folder, prediction="epsilon")


def test_every_tensor_of_both_sides_is_accounted_for(
    networks: Networks, theirs: UNet2DConditionModel, report: Transfer
) -> None:
    ours = {f"{n}.{name}" for n in ("denoiser", "reference") for name in getattr(networks, n).state_dict()}
    assert report.ours.keys() == ours
    sizes = networks.sizes()
    values = sum(n for fate, n in report.parameters.items() if fate != "unused")
    assert values == sizes["denoiser"] + sizes["reference"]
    by_name = theirs.state_dict()
    assert report.parameters["unused"] == sum(by_name[name].numel() for name in report.unused)
    assert "matched" in str(report)


def test_what_matches_is_taken_as_it_is(networks: Networks, theirs: UNet2DConditionModel, report: Transfer) -> None:
    mine, given = networks.denoiser.state_dict(), theirs.state_dict()
    for ours, source in (
        ("levels.1.0.conv_in.weight", "down_blocks.1.resnets.0.conv1.weight"),
        ("levels.1.0.skip.bias", "down_blocks.1.resnets.0.conv_shortcut.bias"),
        ("downs.0.weight", "down_blocks.0.downsamplers.0.conv.weight"),
        ("middle.1.norm_out.weight", "mid_block.resnets.1.norm2.weight"),
        ("up_levels.2.0.conv_in.weight", "up_blocks.0.resnets.1.conv1.weight"),
        ("ups.1.weight", "up_blocks.0.upsamplers.0.conv.weight"),
        ("time.mlp.2.weight", "time_embedding.linear_2.weight"),
        ("conv_out.weight", "conv_out.weight"),
    ):
        assert report.ours[f"denoiser.{ours}"] == "matched", ours
        assert torch.equal(mine[ours], given[source]), ours
    assert torch.equal(networks.reference.conv_in.weight, given["conv_in.weight"])
    assert report.ours["reference.conv_in.weight"] == "matched"


def test_the_first_convolution_does_not_see_what_it_never_knew(
    networks: Networks, theirs: UNet2DConditionModel, report: Transfer
) -> None:
    assert report.ours["denoiser.conv_in.weight"] == "reshaped"
    z = torch.randn(1, 4, 8, 8)
    seen = [networks.denoiser.conv_in(torch.cat([z, torch.randn(1, 5, 8, 8)], dim=1)) for _ in range(2)]
    torch.testing.assert_close(seen[0], theirs.conv_in(z))
    torch.testing.assert_close(seen[0], seen[1])


def test_the_embedding_of_time_is_theirs(networks: Networks, theirs: UNet2DConditionModel, report: Transfer) -> None:
    assert report.ours["denoiser.time.mlp.0.weight"] == "reshaped"
    t = torch.tensor([0, 17, 999])
    expected = theirs.time_embedding(theirs.time_proj(t))
    torch.testing.assert_close(networks.denoiser.time(t), expected, atol=1e-4, rtol=1e-4)


def test_a_block_does_what_theirs_does_before_it_hears_of_time(
    networks: Networks, theirs: UNet2DConditionModel, report: Transfer
) -> None:
    assert report.ours["denoiser.levels.1.0.time.weight"] == "zeroed"
    block: ResnetBlock2D = theirs.down_blocks[1].resnets[0]
    x = torch.randn(2, 8, 4, 4)
    silent = torch.zeros(2, block.time_emb_proj.in_features)
    with torch.no_grad():
        block.time_emb_proj.bias.zero_()
    ours = networks.denoiser.levels[1][0](x, torch.randn(2, 32))  # type: ignore[index]
    torch.testing.assert_close(ours, block(x, silent), atol=1e-5, rtol=1e-4)


def test_attention_and_the_widest_blocks_of_theirs_are_left(report: Transfer) -> None:
    assert any(".attentions." in name for name in report.unused)
    assert "up_blocks.0.resnets.0.conv1.weight" in report.unused
    assert {report.ours["denoiser.talk_middle.own.q.weight"], report.ours["denoiser.ups.0.weight"]} == {"missing"}


def test_an_output_that_says_noise_is_not_taken_by_a_model_that_says_velocity(folder: Path) -> None:
    networks = Networks(config("v_prediction"))
    report = load_unet(networks.denoiser, networks.reference, folder, prediction="v_prediction")
    assert report.ours["denoiser.conv_out.weight"] == "missing"
    assert "conv_out.weight" in report.unused
    assert not networks.denoiser.conv_out.weight.any()


def test_training_starts_from_the_source_its_config_names(folder: Path, theirs: UNet2DConditionModel) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for source in (folder, folder / "unet", file):
        networks = Networks(config(source=str(source)))
        networks.load_sources()
        assert torch.equal(networks.denoiser.conv_in.weight[:, :4], load_file(file)["conv_in.weight"])


def test_what_is_no_unet_is_refused(networks: Networks, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no U-Net weights here"):
        load_unet(networks.denoiser, networks.reference, tmp_path, prediction="epsilon")
    pickled = tmp_path / "diffusion_pytorch_model.safetensors"
    torch.save({"conv_in.weight": torch.zeros(1)}, pickled)
    with pytest.raises(RequestError, match="not a safetensors file"):
        load_unet(networks.denoiser, networks.reference, pickled, prediction="epsilon")


def test_a_unet_of_another_width_is_refused(folder: Path) -> None:
    wide = Networks(config(channels=(24, 24, 24)))
    with pytest.raises(RequestError, match="another width"):
        load_unet(wide.denoiser, wide.reference, folder, prediction="epsilon")
