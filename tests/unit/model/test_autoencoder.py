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
    mine.load_pretrained(str(tmp_path))
    x = torch.rand(1, 3, 32, 32)
    # 0.18215 is the scale that comes with them when their config names no other.
    torch.testing.assert_close(mine.encode(x), 0.18215 * theirs.encode(x))
    assert mine.decode(mine.encode(x)).shape == x.shape


def test_weights_of_another_shape_or_of_nowhere_are_refused(tmp_path: Path) -> None:
    KlAutoencoder(KL.model_copy(update={"channels": (8, 8, 16)})).kl.save_pretrained(tmp_path)
    with pytest.raises(RequestError, match="another shape"):
        Autoencoder(KL).load_pretrained(str(tmp_path))
    with pytest.raises(RequestError, match="no autoencoder here"):
        Autoencoder(KL).load_pretrained(str(tmp_path / "nowhere"))


def hub_with(cache: Path, name: str, revision: str, weights: KlAutoencoder) -> None:
    """A cache of the hub as downloading leaves it: a whole Stable Diffusion's repository with its `vae`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    weights.kl.save_pretrained(repository / "snapshots" / revision / "vae", safe_serialization=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)


def test_the_hub_is_asked_by_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    theirs, mine = KlAutoencoder(KL), Autoencoder(KL)
    hub_with(tmp_path, "someone/their-vae", "a" * 40, theirs)
    for source in ("hub:someone/their-vae", f"hub:someone/their-vae@{'a' * 40}"):
        mine.load_pretrained(source)
        x = torch.rand(1, 3, 32, 32)
        torch.testing.assert_close(mine.encode(x), 0.18215 * theirs.encode(x))
    with pytest.raises(RequestError, match="neither in the cache nor"):
        mine.load_pretrained("hub:someone/another")
    with pytest.raises(RequestError, match="no autoencoder here"):
        mine.load_pretrained("someone/their-vae")


def test_weights_that_would_have_to_be_unpickled_are_refused(tmp_path: Path) -> None:
    KlAutoencoder(KL).kl.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(RequestError, match="no safetensors"):
        Autoencoder(KL).load_pretrained(str(tmp_path))


@pytest.mark.parametrize("config", [AutoencoderConfig(channels=(8, 8), norm_groups=4), KL])
def test_decoding_one_by_one_is_decoding_all(config: AutoencoderConfig) -> None:
    net = Autoencoder(config).eval()
    z = net.encode(torch.rand(3, 3, 32, 32))
    together = net.decode(z)
    net.slicing = True
    torch.testing.assert_close(net.decode(z), together)
