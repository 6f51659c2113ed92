from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from model.config import DenoiserConfig, ModelConfig
from model.denoiser import Denoiser
from model.networks import Networks
from model.reference import ReferenceEncoder
from shards.errors import RequestError
from shards.topology import topology
from tests.unit.model.conftest import awake

LAYOUT = topology("mediapipe131")


def inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    z, source = (torch.randn(batch, 4, 8, 8, generator=generator) for _ in range(2))
    lm = torch.rand(batch, 131, 2, generator=generator) * 2 - 1
    return z, torch.ones(batch, 1, 8, 8), source, torch.full((batch,), 500), lm


def looks(reference: ReferenceEncoder, batch: int = 1) -> list[Any]:
    return reference(torch.randn(batch, 2, 4, 8, 8, generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("landmark_map", [False, True])
def test_new_conditions_start_as_no_ops(config: ModelConfig, landmark_map: bool) -> None:
    denoiser_config = config.denoiser.model_copy(update={"landmark_map": landmark_map})
    net, reference = Denoiser(4, LAYOUT, denoiser_config), ReferenceEncoder(4, denoiser_config)
    torch.nn.init.normal_(net.conv_out.weight)  # it starts at zero as well, and would hide everything
    told = net(*inputs(), looks(reference))
    untold = net(*inputs(), looks(reference), motion_scale=0.0, appearance_scale=0.0)
    assert told.abs().sum() > 0
    assert torch.equal(told, untold)


@pytest.mark.parametrize("switch", ["motion_scale", "appearance_scale"])
def test_a_trained_attention_counts_and_can_be_dropped_per_item(networks: Networks, switch: str) -> None:
    refs = looks(networks.reference)
    told = networks.denoiser(*inputs(), refs)
    half = networks.denoiser(*inputs(), refs, **{switch: torch.tensor([1.0, 0.0])})
    torch.testing.assert_close(told[0], half[0])
    assert (told[1] - half[1]).abs().max() > 1e-4


@pytest.mark.parametrize("switch", ["motion_attention", "appearance_attention"])
def test_an_attention_that_is_switched_off_has_no_weights(config: ModelConfig, switch: str) -> None:
    off = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={switch: False})})
    with_it, without = Networks(config).sizes(), awake(Networks(off))
    assert without.sizes()["denoiser"] < with_it["denoiser"]
    z, mask, source, t, lm = inputs()
    refs = looks(without.reference)
    if switch == "motion_attention":
        assert torch.equal(
            without.denoiser(z, mask, source, t, lm, refs), without.denoiser(z, mask, source, t, -lm, refs)
        )
    else:
        others = without.reference(torch.zeros(1, 2, 4, 8, 8))
        assert torch.equal(
            without.denoiser(z, mask, source, t, lm, refs), without.denoiser(z, mask, source, t, lm, others)
        )


def test_lips_and_jaw_alone_can_be_the_condition(config: ModelConfig) -> None:
    only = config.model_copy(update={"denoiser": config.denoiser.model_copy(update={"landmarks": "content"})})
    nets = awake(Networks(only))
    z, mask, source, t, lm = inputs()
    refs, moved = looks(nets.reference), lm.clone()
    moved[:, list(LAYOUT.pose)] += 0.3
    assert torch.equal(nets.denoiser(z, mask, source, t, lm, refs), nets.denoiser(z, mask, source, t, moved, refs))


def test_the_landmarks_get_a_gradient(networks: Networks) -> None:
    z, mask, source, t, lm = inputs()
    lm.requires_grad_(True)
    networks.denoiser(z, mask, source, t, lm, looks(networks.reference)).square().sum().backward()
    assert lm.grad is not None
    assert (lm.grad.abs().sum(dim=(0, 2)) > 0).all()


def test_references_shared_by_neighbours_equal_references_given_to_each(networks: Networks) -> None:
    z = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    shared = networks.reference(z)
    each = networks.reference(z.repeat_interleave(2, dim=0))
    args = inputs(4)
    torch.testing.assert_close(networks.denoiser(*args, shared), networks.denoiser(*args, each))


def test_a_wrong_order_of_the_landmarks_changes_the_picture(networks: Networks) -> None:
    """The same set of places: only who is where differs."""
    z, mask, source, t, lm = inputs()
    refs, swapped = looks(networks.reference), lm.clone()
    swapped[:, list(LAYOUT.lips)] = lm[:, list(LAYOUT.lips)].flip(1)
    right, wrong = (networks.denoiser(z, mask, source, t, told, refs) for told in (lm, swapped))
    assert (right - wrong).abs().max() > 1e-3


@pytest.mark.parametrize("count", [1, 3])
def test_each_reference_picture_counts_whatever_their_number(networks: Networks, count: int) -> None:
    z = torch.randn(1, count, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    found = networks.reference(z)
    assert [r.value_BMD.shape[1] for r in found] == [count * 64, count * 16]
    args, before = inputs(), networks.denoiser(*inputs(), found)
    for i in range(count):
        other = z.clone()
        other[:, i] *= -1
        assert (networks.denoiser(*args, networks.reference(other)) - before).abs().max() > 1e-5


def test_no_reference_picture_is_refused(networks: Networks) -> None:
    with pytest.raises(RequestError, match="no reference picture"):
        networks.reference(torch.zeros(1, 0, 4, 8, 8))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"told": torch.zeros(2, 68, 2)}, "told"),
        ({"told": torch.zeros(1, 131, 2)}, "told"),
        ({"references": []}, "references"),
        ({"moment_VT": torch.zeros(1, 3)}, "moment"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(networks: Networks, wrong: dict[str, Any], field: str) -> None:
    z, mask, source, t, lm = inputs()
    given = {"told": lm, "references": looks(networks.reference)} | wrong
    with pytest.raises(RequestError) as caught:
        networks.denoiser(z, mask, source, t, **given)
    assert caught.value.field == field


def variant(config: ModelConfig, **changes: Any) -> Networks:
    other = config.model_copy(update={"denoiser": config.denoiser.model_copy(update=changes)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(Networks(other)).eval()


def test_audio_can_take_the_place_of_landmarks(config: ModelConfig) -> None:
    nets = variant(config, landmarks="audio")
    z, mask, source, t, lm = inputs()
    refs, audio = looks(nets.reference), torch.randn(2, 16, 80, generator=torch.Generator().manual_seed(5))
    audio.requires_grad_(True)
    said = nets.denoiser(z, mask, source, t, audio, refs)
    unsaid = nets.denoiser(z, mask, source, t, audio, refs, motion_scale=0.0)
    assert (said - unsaid).abs().max() > 1e-4
    said.square().sum().backward()
    assert audio.grad is not None
    assert (audio.grad.abs().sum(dim=(0, 2)) > 0).all()
    with pytest.raises(RequestError, match="of audio"):
        nets.denoiser(z, mask, source, t, lm, refs)


def test_a_denoiser_of_audio_must_know_its_width() -> None:
    with pytest.raises(RequestError, match="width"):
        Denoiser(4, LAYOUT, DenoiserConfig(landmarks="audio"))


def test_temporal_attention_starts_as_a_no_op_and_then_looks_around(config: ModelConfig) -> None:
    fresh = Networks(config.model_copy(update={"denoiser": DenoiserConfig(temporal_attention=True)}))
    torch.nn.init.normal_(fresh.denoiser.conv_out.weight)
    args, refs = inputs(4), looks(fresh.reference)
    window, alone = torch.arange(4.0)[None], None
    torch.testing.assert_close(
        fresh.denoiser(*args, refs, moment_VT=window), fresh.denoiser(*args, refs, moment_VT=alone)
    )

    nets = variant(config, temporal_attention=True)
    refs, told = looks(nets.reference), args[4].clone()
    told[3] *= -1  # another mouth in the last frame
    for when, heard in ((window, True), (alone, False)):
        before = nets.denoiser(*args, refs, moment_VT=when)
        after = nets.denoiser(*args[:4], told, refs, moment_VT=when)
        assert bool((before[0] - after[0]).abs().max() > 1e-5) == heard


def test_checkpointing_gives_the_same_gradients(networks: Networks) -> None:
    found = []
    for networks.denoiser.checkpointing in (False, True):
        networks.zero_grad()
        networks.denoiser(*inputs(), looks(networks.reference)).square().sum().backward()
        found.append({name: p.grad.clone() for name, p in networks.named_parameters() if p.grad is not None})
    assert len(found[0]) > 50
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)


def test_checkpointing_keeps_less_for_the_backward_pass(networks: Networks) -> None:
    kept = []
    for networks.denoiser.checkpointing in (False, True):
        sizes: list[int] = []

        def keep(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            networks.denoiser(*inputs(), looks(networks.reference))
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_the_memory_layout_makes_no_difference(networks: Networks) -> None:
    refs = looks(networks.reference)
    plain = networks.denoiser(*inputs(), refs)
    networks.denoiser.to(memory_format=torch.channels_last)
    z, mask, source, t, lm = inputs()
    last = (x.to(memory_format=torch.channels_last) for x in (z, mask, source))
    torch.testing.assert_close(networks.denoiser(*last, t, lm, refs), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_whole_denoiser_compiles_without_a_graph_break(networks: Networks) -> None:
    compiled = torch.compile(networks.denoiser, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        args, refs = inputs(), looks(networks.reference)
        torch.testing.assert_close(compiled(*args, refs), networks.denoiser(*args, refs))
