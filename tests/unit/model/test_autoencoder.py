from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.autoencoder import Autoencoder, KlAutoencoder
from model.config import AutoencoderConfig
from shards.errors import RequestError

KL = AutoencoderConfig(kind="kl", channels=(8, 8, 8), norm_groups=4)


@pytest.mark.parametrize("config", [AutoencoderConfig(channels=(8, 8), norm_groups=4), KL])
def test_four_pixels_become_one_cell_and_come_back(config: AutoencoderConfig) -> None:
    net = Autoencoder(config)
    z = net.encode(torch.rand(2, 3, 32, 32))
    assert z.shape == (2, 4, 32 // config.factor, 32 // config.factor)
    assert net.decode(z).shape == (2, 3, 32, 32)


def test_latents_have_unit_spread_once_measured() -> None:
    net = Autoencoder(AutoencoderConfig(channels=(8, 8), norm_groups=4))
    pictures = torch.rand(16, 3, 32, 32) * 2 - 1
    net.measure_scale(pictures)
    z = net.encode(pictures)
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)


def test_published_weights_are_taken_from_a_folder(tmp_path: Path) -> None:
    theirs, mine = KlAutoencoder(KL), Autoencoder(KL)
    theirs.kl.save_pretrained(tmp_path, safe_serialization=True)
    mine.load_pretrained(tmp_path)
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(mine.encode(x), theirs.encode(x))


def test_weights_of_another_shape_or_of_nowhere_are_refused(tmp_path: Path) -> None:
    KlAutoencoder(KL.model_copy(update={"channels": (8, 8, 16)})).kl.save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="another shape"):
        Autoencoder(KL).load_pretrained(tmp_path)
    with pytest.raises(RequestError, match="no folder"):
        Autoencoder(KL).load_pretrained(tmp_path / "nowhere")
