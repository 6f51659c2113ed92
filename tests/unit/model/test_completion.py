from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from model.completion import LandmarkCompletion, complete, window_starts
from model.config import CompletionConfig, ModelConfig
from model.networks import Networks
from shards.topology import topology

LAYOUT = topology("mediapipe131")


def parts(frames: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(frames, 16, 80, generator=generator)
    lm = torch.rand(frames, 131, 2, generator=generator)
    return audio, lm, torch.ones(frames, dtype=torch.bool), torch.rand(3, 131, 2, generator=generator)


class PerFrame(nn.Module):
    """A completion that looks at one frame at a time: windows cannot change what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.config = CompletionConfig(window_frames=10, overlap_frames=4)

    def forward(self, audio: Tensor, lm: Tensor, seen: Tensor, ref: Tensor) -> Tensor:
        return lm.sin() + audio.mean(dim=(2, 3))[..., None, None] + ref.mean(dim=1, keepdim=True)


def test_windows_cover_everything_and_overlap() -> None:
    assert window_starts(7, 10, 4) == [0]
    for length in range(11, 60):
        starts = window_starts(length, 10, 4)
        covered = {frame for start in starts for frame in range(start, start + 10)}
        assert covered == set(range(length))
        assert all(b - a <= 6 for a, b in pairwise(starts))


def test_windowed_inference_is_the_whole_when_frames_do_not_see_each_other() -> None:
    net, (audio, lm, seen, ref) = PerFrame(), parts(53)
    whole = net(audio[None], lm[None], seen[None], ref[None])[0]
    torch.testing.assert_close(complete(net, audio, lm, seen, ref, batch_size=2), whole)  # type: ignore[arg-type]


def test_what_fits_in_one_window_is_not_cut(networks: Networks) -> None:
    audio, lm, seen, ref = parts(10)
    whole = networks.completion(audio[None], lm[None], seen[None], ref[None])[0]
    torch.testing.assert_close(complete(networks.completion, audio, lm, seen, ref), whole)


def test_windows_leave_no_seam(networks: Networks) -> None:
    audio, lm, seen, ref = parts(40)
    audio, lm = audio[:1].expand(40, -1, -1), lm[:1].expand(40, -1, -1)  # nothing moves, so nothing may jump
    made = complete(networks.completion, audio, lm, seen, ref)[:, list(LAYOUT.content)]
    inside_one = networks.completion(audio[None, :10], lm[None, :10], seen[None, :10], ref[None])[0]
    largest = inside_one[:, list(LAYOUT.content)].diff(dim=0).abs().max()
    assert made.diff(dim=0).abs().max() <= 1.5 * largest


def test_at_first_it_says_the_references_mean_mouth(config: ModelConfig) -> None:
    net = LandmarkCompletion(config.completion, LAYOUT, {"mel": 80}).eval()
    audio, lm, seen, ref = parts(10)
    made = net(audio[None], lm[None], seen[None], ref[None])[0]
    content, pose = list(LAYOUT.content), list(LAYOUT.pose)
    torch.testing.assert_close(made[:, content], ref.mean(dim=0)[content].expand(10, -1, -1))
    assert torch.equal(made[:, pose], lm[:, pose])


def test_the_sources_mouth_is_never_looked_at(networks: Networks) -> None:
    audio, lm, seen, ref = parts(10)
    other = lm.clone()
    other[:, list(LAYOUT.content)] += 1.0
    content = list(LAYOUT.content)
    a, b = (networks.completion(audio[None], x[None], seen[None], ref[None])[0, :, content] for x in (lm, other))
    assert torch.equal(a, b)


@pytest.mark.parametrize("what", ["audio", "pose"])
def test_it_listens_to_the_speech_and_the_pose(networks: Networks, what: str) -> None:
    audio, lm, seen, ref = parts(10)
    other_audio, other_lm, _, _ = parts(10, seed=1)
    changed = (other_audio, lm) if what == "audio" else (audio, other_lm)
    content = list(LAYOUT.content)
    a = networks.completion(audio[None], lm[None], seen[None], ref[None])[0, :, content]
    b = networks.completion(changed[0][None], changed[1][None], seen[None], ref[None])[0, :, content]
    assert (a - b).abs().max() > 1e-4


def test_the_pose_of_an_unseen_frame_does_not_count(networks: Networks) -> None:
    audio, lm, seen, ref = parts(10)
    seen[4] = False
    other = lm.clone()
    other[4] = 9.0
    content = list(LAYOUT.content)
    a, b = (networks.completion(audio[None], x[None], seen[None], ref[None])[0, :, content] for x in (lm, other))
    assert torch.equal(a, b)


FEATURES = ({"mel": 80}, {"mel": 80, "phones": 42}, {"phones": 42}, {"hubert-0a1b2c3d": 768, "mel": 80})


@pytest.mark.parametrize("layout", ["mediapipe131", "ibug68"])
@pytest.mark.parametrize("features", FEATURES, ids=lambda f: "+".join(f))
@pytest.mark.parametrize("spectrogram", ["picture", "columns"])
def test_it_listens_to_every_feature_in_either_layout(
    config: ModelConfig, layout: str, features: dict[str, int], spectrogram: str
) -> None:
    settings = config.completion.model_copy(update={"spectrogram": spectrogram})
    net = LandmarkCompletion(settings, topology(layout), features).eval()
    nn.init.normal_(net.read_lips.weight)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    points = topology(layout).num_points
    lm, ref = (torch.rand(1, n, points, 2, generator=generator) for n in (6, 3))
    audio = torch.rand(1, 6, 16, sum(features.values()), generator=generator)
    said = net(audio, lm, torch.ones(1, 6, dtype=torch.bool), ref)
    first = 0
    for dim in features.values():
        other = audio.clone()
        other[..., first : first + dim] = torch.rand(1, 6, 16, dim, generator=generator)
        assert not torch.allclose(said, net(other, lm, torch.ones(1, 6, dtype=torch.bool), ref), atol=1e-4)
        first += dim
