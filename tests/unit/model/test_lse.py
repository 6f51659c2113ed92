"""LSE-C and LSE-D against a second, plain computation of the same published definitions."""

from __future__ import annotations

import itertools
import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as fn

from model.errors import CheckpointDamaged
from model.lse import VSHIFT, SyncNet, lip_sync_error, load_syncnet, mfcc, score_distances
from shards.errors import RequestError
from shards.schema import F64, U8, Speech


@pytest.fixture(scope="module")
def net() -> SyncNet:
    """Random weights, random running statistics: nothing is at its default."""
    generator = torch.Generator().manual_seed(3)
    made = SyncNet()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if "running_var" in name:
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * max(value[0].numel(), 9) ** -0.5)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def frames() -> U8:
    """Reddish, and each brighter than the one before: neither channels nor frames can be exchanged."""
    noise = np.random.default_rng(1).random((9, 224, 224, 3))
    return (255 * noise * np.array([1.0, 0.5, 0.1]) * np.linspace(0.2, 1, 9)[:, None, None, None]).astype(np.uint8)


def noise(seconds: float, seed: int = 0) -> Speech:
    samples = np.random.default_rng(seed).normal(0, 3000, round(16_000 * seconds)).astype(np.int16)
    return Speech(samples=samples, rate_hz=16_000, origin_s=Fraction(0))


# -- references: written from the definitions, with loops and no library of ours --------------------------------------


def reference_mfcc(samples: F64) -> F64:
    flat = [float(samples[0])] + [float(b - 0.97 * a) for a, b in itertools.pairwise(samples)]
    count = 1 if len(flat) <= 400 else 1 + math.ceil((len(flat) - 400) / 160)
    flat += [0.0] * ((count - 1) * 160 + 400 - len(flat))
    mel = [2595 * math.log10(1 + 8000 / 700) * i / 27 for i in range(28)]
    corners = [math.floor(513 * 700 * (10 ** (m / 2595) - 1) / 16000) for m in mel]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    rows = []
    for c in range(count):
        power = [abs(x) ** 2 / 512 for x in turns @ np.array(flat[160 * c : 160 * c + 400])]
        bands = []
        for j in range(26):
            a, b, d = corners[j : j + 3]
            rise = sum(power[i] * (i - a) / (b - a) for i in range(a, b))
            bands.append(rise + sum(power[i] * (d - i) / (d - b) for i in range(b, d)))
        logs = [math.log(b or np.finfo(float).eps) for b in bands]
        row = []
        for k in range(13):
            size = math.sqrt((1 if k == 0 else 2) / 26)
            turned = sum(v * math.cos(math.pi * k * (2 * i + 1) / 52) for i, v in enumerate(logs))
            row.append(size * turned * (1 + 11 * math.sin(math.pi * k / 22)))
        row[0] = math.log(sum(power) or np.finfo(float).eps)
        rows.append(row)
    return np.array(rows)


def _block(x: Tensor, weights: dict[str, Tensor], name: str, at: int, **how: object) -> Tensor:
    """Convolution or matrix at place `at` of the sequence `name`, the batch norm after it, no activation."""
    w, b = weights[f"{name}.{at}.weight"], weights[f"{name}.{at}.bias"]
    y = {2: fn.linear, 4: fn.conv2d, 5: fn.conv3d}[w.ndim](x, w, b, **how)  # type: ignore[operator]
    norm = f"{name}.{at + 1}."
    if norm + "running_mean" not in weights:
        return y
    shape = (1, -1) + (1,) * (y.ndim - 2)
    mean, var, scale, shift = (
        weights[norm + part].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (y - mean) / torch.sqrt(var + 1e-5) * scale + shift


def reference_see(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    name, flat = "netcnnlip", (0, 1, 1)
    x = fn.max_pool3d(_block(x, weights, name, 0, stride=(1, 2, 2)).relu(), (1, 3, 3), (1, 2, 2))
    x = fn.max_pool3d(_block(x, weights, name, 4, stride=(1, 2, 2), padding=flat).relu(), (1, 3, 3), (1, 2, 2), flat)
    for at in (8, 11, 14):
        x = _block(x, weights, name, at, padding=flat).relu()
    x = _block(fn.max_pool3d(x, (1, 3, 3), (1, 2, 2)), weights, name, 18).relu().flatten(1)
    return _block(_block(x, weights, "netfclip", 0).relu(), weights, "netfclip", 3)


def reference_hear(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    name = "netcnnaud"
    x = _block(x, weights, name, 0, padding=1).relu()
    x = fn.max_pool2d(_block(x, weights, name, 4, padding=1).relu(), 3, (1, 2))
    for at in (8, 11, 14):
        x = _block(x, weights, name, at, padding=1).relu()
    x = _block(fn.max_pool2d(x, 3, 2), weights, name, 18).relu().flatten(1)
    return _block(_block(x, weights, "netfcaud", 0).relu(), weights, "netfcaud", 3)


def reference_figures(seen: F64, heard: F64) -> tuple[float, float, int, float]:
    means = []
    for shift in range(-15, 16):
        total = 0.0
        for i in range(len(seen)):
            other = heard[i + shift] if 0 <= i + shift < len(heard) else np.zeros(heard.shape[1])
            total += math.sqrt(sum((a - b + 1e-6) ** 2 for a, b in zip(seen[i], other, strict=True)))
        means.append(total / len(seen))
    best = min(range(31), key=means.__getitem__)
    return means[best], sorted(means)[15] - means[best], 15 - best, means[15]


# -- the figures -------------------------------------------------------------------------------------------------------


def test_the_cepstra_are_those_of_the_definition() -> None:
    samples = noise(0.21, seed=2).samples.astype(np.float64)
    samples[800:1800] = 0  # columns of digital silence, where a logarithm must not fail
    found = mfcc(samples)
    assert found.shape == (20, 13)
    np.testing.assert_allclose(found, reference_mfcc(samples), rtol=1e-6, atol=1e-6)
    assert mfcc(samples[:100]).shape == (1, 13)


def test_both_streams_are_the_published_layers(net: SyncNet) -> None:
    weights = net.state_dict()
    generator = torch.Generator().manual_seed(4)
    eyes, ears = (
        255 * torch.rand(2, 3, 5, 224, 224, generator=generator),
        10 * torch.randn(2, 1, 13, 20, generator=generator),
    )
    seen, heard = net.see(eyes), net.hear(ears)
    assert seen.shape == heard.shape == (2, 1024)
    torch.testing.assert_close(seen, reference_see(weights, eyes), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(heard, reference_hear(weights, ears), rtol=1e-4, atol=1e-4)


def test_the_figures_of_a_clip_are_those_of_the_definition(net: SyncNet, frames: U8) -> None:
    speech = noise(len(frames) / 25)
    weights, columns = net.state_dict(), reference_mfcc(speech.samples.astype(np.float64))
    seen, heard = [], []
    for i in range(len(frames) - 5):
        bgr = np.stack([frame[:, :, ::-1].transpose(2, 0, 1) for frame in frames[i : i + 5]], axis=1)
        seen.append(reference_see(weights, torch.tensor(bgr.astype(np.float32))[None])[0].double().numpy())
        sound = torch.tensor(columns[4 * i : 4 * i + 20].T, dtype=torch.float32)
        heard.append(reference_hear(weights, sound[None, None])[0].double().numpy())
    found = lip_sync_error(net, frames, speech)
    expected = reference_figures(np.array(seen), np.array(heard))
    assert found.av_offset == expected[2]
    np.testing.assert_allclose(
        [found.lse_d, found.lse_c, found.distance_at_zero], [expected[0], expected[1], expected[3]], rtol=1e-3
    )


@pytest.mark.parametrize("late", [-6, 0, 4])
def test_late_sound_has_a_negative_offset_as_published(late: int) -> None:
    vectors = np.random.default_rng(5).normal(size=(60, 16))
    seen, heard = vectors[20:50], vectors[20 - late : 50 - late] + 0.01
    found = score_distances(torch.tensor(seen), torch.tensor(heard))
    assert (found.av_offset, found.late_frames) == (-late, late)
    expected = reference_figures(seen, heard)
    np.testing.assert_allclose([found.lse_d, found.lse_c, found.av_offset, found.distance_at_zero], expected, rtol=1e-9)
    assert (found.lse_d == found.distance_at_zero) == (late == 0)


class LoudAndBright(SyncNet):
    """Sees how bright each of its five frames is, hears how loud each is: on one scale."""

    def see(self, frames_N3THW: Tensor) -> Tensor:
        return frames_N3THW.mean(dim=(1, 3, 4)) / 255

    def hear(self, mfcc_N1CW: Tensor) -> Tensor:
        log_energy = mfcc_N1CW[:, 0, 0].reshape(-1, 5, 4).mean(dim=2)
        return (log_energy - 8) / 8


@pytest.mark.parametrize("late", [-3, 0, 5])
def test_a_clip_whose_sound_is_late_is_found_late(late: int) -> None:
    rng = np.random.default_rng(6)
    levels = rng.random(70)
    pictures = np.broadcast_to((255 * levels[10:60, None, None, None]).astype(np.uint8), (50, 224, 224, 3))
    # Energy of a 25 ms frame under pre-emphasis: e to the power of 8 + 8 level.
    loud = np.repeat(np.exp(4 + 4 * levels[10 - late : 60 - late]), 640)
    samples = (rng.normal(size=50 * 640) * loud / math.sqrt(200 * (1 + 0.97**2))).astype(np.int16)
    found = lip_sync_error(LoudAndBright(), pictures, Speech(samples=samples, rate_hz=16_000, origin_s=Fraction(0)))
    assert (found.late_frames, found.av_offset) == (late, -late)


def test_syncnet_is_shown_blue_first_in_steps_from_0_to_255() -> None:
    shown: list[Tensor] = []

    class Recording(LoudAndBright):
        def see(self, frames_N3THW: Tensor) -> Tensor:
            shown.append(frames_N3THW)
            return super().see(frames_N3THW)

    orange = np.broadcast_to(np.array([255, 128, 0], dtype=np.uint8), (6, 224, 224, 3))
    lip_sync_error(Recording(), orange, noise(6 / 25))
    assert [tuple(block.shape) for block in shown] == [(1, 3, 5, 224, 224)]
    assert shown[0].mean(dim=(0, 2, 3, 4)).tolist() == [0.0, 128.0, 255.0]


def test_what_syncnet_cannot_judge_is_refused_by_name(net: SyncNet, frames: U8) -> None:
    with pytest.raises(RequestError, match="224 x 224"):
        lip_sync_error(net, frames[:, ::2, ::2], noise(1))
    with pytest.raises(RequestError, match="6 frames"):
        lip_sync_error(net, frames[:5], noise(1))
    other = Speech(samples=noise(1).samples, rate_hz=48_000, origin_s=Fraction(0))
    with pytest.raises(RequestError, match="16000 Hz"):
        lip_sync_error(net, frames, other)
    assert VSHIFT == 15


# -- weights from a file -----------------------------------------------------------------------------------------------


def test_weights_come_from_either_kind_of_file_also_without_counters(net: SyncNet, tmp_path: Path) -> None:
    weights = net.state_dict()
    save_file(weights, tmp_path / "net.safetensors")
    torch.save({k: v for k, v in weights.items() if "num_batches" not in k}, tmp_path / "syncnet_v2.model")
    sound = torch.randn(1, 1, 13, 20, generator=torch.Generator().manual_seed(0))
    for name in ("net.safetensors", "syncnet_v2.model"):
        torch.testing.assert_close(load_syncnet(tmp_path / name).hear(sound), net.hear(sound), rtol=0, atol=0)


def test_tensors_that_do_not_fit_are_named(net: SyncNet, tmp_path: Path) -> None:
    weights, path = net.state_dict(), tmp_path / "other.model"
    del weights["netfclip.3.bias"]
    weights["netfcaud.3.weight"] = torch.zeros(256, 512)
    weights["head.weight"] = torch.zeros(1)
    torch.save(weights, path)
    with pytest.raises(RequestError) as refused:
        load_syncnet(path)
    said = str(refused.value)
    assert "1 missing: netfclip.3.bias" in said
    assert "1 unexpected: head.weight" in said
    assert "netfcaud.3.weight (256, 512) for (1024, 512)" in said


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("evil",)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "evil.model")
    with pytest.raises(CheckpointDamaged, match="without unpickling"):
        load_syncnet(tmp_path / "evil.model")
    assert not (tmp_path / "evil").exists()


def test_what_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        load_syncnet(tmp_path / "syncnet_v2.model")
    torch.save([1, 2], tmp_path / "list.model")
    with pytest.raises(CheckpointDamaged, match="holds a list"):
        load_syncnet(tmp_path / "list.model")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(CheckpointDamaged, match=r"cut\.safetensors"):
        load_syncnet(tmp_path / "cut.safetensors")
