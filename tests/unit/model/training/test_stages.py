from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.batch import ClipBatch, collate, windows
from model.networks import Networks
from model.sync import SyncConfig, SyncExpert
from model.training.config import STAGE_NAMES, RefineConfig, TrainConfig
from model.training.draws import Draws
from model.training.stage import CompletionStage
from model.training.stages import STAGES, DiffusionStage, JointStage, RefineStage, latent_mask
from model.training.sync import save_expert
from shards.errors import RequestError
from shards.schema import ClipSample
from tests.unit.model.conftest import awake


@pytest.fixture
def batch(train_config: TrainConfig, clip: ClipSample) -> ClipBatch:
    return collate(windows(clip, 10, np.random.default_rng(0), train_config.model, count=2))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def draws() -> Draws:
    return Draws.of(generator(), 2)


@pytest.mark.parametrize("shown", [2, 10])
@pytest.mark.parametrize("name", STAGE_NAMES)
def test_what_two_halves_of_a_batch_add_up_to_is_what_the_whole_is(
    name: str, shown: int, train_config: TrainConfig, networks: Networks, batch: ClipBatch, judge: RefineConfig
) -> None:
    """Sums and counts, of halves of which one may show much less of the face: a mean of two means would be another."""
    seen = batch.seen_BT.clone()
    seen[1, shown:] = False
    refine = judge.model_copy(update={"frames": 5})
    stage = STAGES[name](networks, train_config.model_copy(update={"refine": refine}))
    both = replace(batch, seen_BT=seen)
    halves = [
        replace(both, **{name: x[i : i + 1] for name, x in both.tensors().items() if name != "mask_HW"})
        for i in range(2)
    ]
    tasks = [stage.draw(half, Draws([(7, i)])) for i, half in enumerate(halves)]
    task = stage.draw(both, Draws([(7, 0), (7, 1)]))
    whole, parts = stage.sums(task), [stage.sums(t) for t in tasks]
    assert whole.keys() == task.counts.keys()
    for part in whole:
        torch.testing.assert_close(sum(p[part] for p in parts), whole[part], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(sum(t.counts[part] for t in tasks), task.counts[part])


def test_the_stages_run_in_the_order_of_their_configs() -> None:
    assert tuple(STAGES) == STAGE_NAMES


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_the_same_generator_gives_the_same_loss(
    name: str, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    stage = STAGES[name](networks, train_config)
    a, b = stage.loss(batch, generator()), stage.loss(batch, generator())
    assert all(torch.equal(a[part], b[part]) for part in a)


@pytest.mark.parametrize("end_to_end", [True, False])
def test_the_diffusion_loss_reaches_completion_only_end_to_end(
    end_to_end: bool, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    stage = JointStage(networks, train_config.model_copy(update={"end_to_end": end_to_end}))
    stage.loss(batch, generator())["diffusion"].backward()
    reached = sum(float(p.grad.abs().sum()) for p in networks.completion.parameters() if p.grad is not None)
    assert (reached > 0) == end_to_end
    assert sum(float(p.grad.abs().sum()) for p in networks.denoiser.parameters() if p.grad is not None) > 0


@pytest.fixture
def turned(batch: ClipBatch) -> ClipBatch:
    """The same mouths under heads a little aside."""
    return replace(batch, turned_BTP2=batch.landmarks_BTP2 + 0.1, turned_seen_BT=batch.seen_BT)


def test_the_joint_stage_draws_under_the_own_head_and_judges_completion_under_another(
    train_config: TrainConfig, networks: Networks, batch: ClipBatch, turned: ClipBatch
) -> None:
    stage = JointStage(networks.eval(), train_config)
    own, both = stage.loss(batch, generator()), stage.loss(turned, generator())
    torch.testing.assert_close(own["diffusion"], both["diffusion"])
    assert not torch.allclose(own["points"], both["points"])
    alone = CompletionStage(networks, train_config).loss(turned, generator())
    torch.testing.assert_close(both["points"], train_config.weights.completion * alone["points"])


@pytest.mark.parametrize("end_to_end", [True, False])
def test_the_diffusion_loss_alone_moves_completion_only_end_to_end(
    end_to_end: bool, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    """Not a gradient but a step: completion's own loss takes no part in it."""
    stage = JointStage(networks, train_config.model_copy(update={"end_to_end": end_to_end}))
    before = {name: p.detach().clone() for name, p in networks.completion.named_parameters()}
    optimizer = torch.optim.SGD(networks.parameters(), lr=10.0)
    stage.loss(batch, generator())["diffusion"].backward()
    optimizer.step()
    moved = {name for name, p in networks.completion.named_parameters() if not torch.equal(p, before[name])}
    assert ("read_lips.weight" in moved) == ("read_jaw.weight" in moved) == end_to_end
    assert bool(moved) == end_to_end


@pytest.fixture
def in_double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("network", ["completion", "denoiser"])
def test_the_joint_gradient_is_that_of_finite_differences(
    in_double: None, network: str, train_config: TrainConfig, batch: ClipBatch
) -> None:
    """Along a random direction in the weights of one network, through the diffusion loss alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = awake(Networks(train_config.model)).eval()
    double = ClipBatch(**{name: x.double() if x.is_floating_point() else x for name, x in batch.tensors().items()})
    stage, weights = JointStage(nets, train_config), list(getattr(nets, network).parameters())
    draw = torch.Generator().manual_seed(2)
    along = [torch.randn(w.shape, generator=draw) for w in weights]

    def loss_at(step: float) -> torch.Tensor:
        with torch.no_grad():
            for w, a in zip(weights, along, strict=True):
                w.add_(a, alpha=step)
        return stage.loss(double, generator())["diffusion"]

    slope = torch.autograd.grad(loss_at(0.0), weights, allow_unused=True)
    analytic = sum(float((g * a).sum()) for g, a in zip(slope, along, strict=True) if g is not None)
    with torch.no_grad():
        ahead, behind = loss_at(1e-6), loss_at(-2e-6)
    assert abs(analytic) > 1e-4
    assert float(ahead - behind) / 2e-6 == pytest.approx(analytic, rel=1e-4)


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_what_unseen_frames_hold_changes_no_loss(
    name: str, train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    seen = batch.seen_BT.clone()
    seen[:, 3:] = False  # more pictures are asked for than are seen, so unseen ones take part
    config = train_config.model_copy(update={name: train_config.stage(name).model_copy(update={"frames": 6})})
    stage = STAGES[name](networks, config)
    frames, lm = batch.frames_BTCHW.clone(), batch.landmarks_BTP2.clone()
    frames[:, 3:], lm[:, 3:] = 0.5, 0.7
    if name == "autoencoder":  # the latent's spread, which scales the noise, is measured over all pictures
        config = config.model_copy(
            update={
                "model": config.model.model_copy(
                    update={"autoencoder": config.model.autoencoder.model_copy(update={"train_noise": 0.0})}
                )
            }
        )
        stage = STAGES[name](networks, config)
    a = stage.loss(replace(batch, seen_BT=seen), generator())
    b = stage.loss(replace(batch, seen_BT=seen, frames_BTCHW=frames, landmarks_BTP2=lm), generator())
    for part in a:
        torch.testing.assert_close(a[part], b[part])


@pytest.mark.parametrize("temporal", [False, True])
@pytest.mark.parametrize("name", STAGE_NAMES)
def test_every_weight_that_is_trained_takes_part_in_every_step(
    name: str, temporal: bool, train_config: TrainConfig, batch: ClipBatch
) -> None:
    """Processes wait for each other's gradient of each weight."""
    config = changed(train_config, temporal_attention=temporal)
    stage = STAGES[name](Networks(config.model), config)
    sum(stage.loss(replace(batch, seen_BT=torch.zeros_like(batch.seen_BT)), generator()).values()).backward()
    for network, net in stage.trained().items():
        assert [n for n, p in net.named_parameters() if p.grad is None] == [], network


def test_joint_trains_completion_more_slowly(train_config: TrainConfig, networks: Networks) -> None:
    stage = STAGES["joint"](networks, train_config)
    assert stage.rate_of("completion") == train_config.completion_rate < stage.rate_of("denoiser")


def test_a_cell_is_generated_when_any_of_its_pixels_is() -> None:
    mask = torch.zeros(8, 8)
    mask[3, 3] = 1
    assert latent_mask(mask, 2).tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def changed(config: TrainConfig, **denoiser: Any) -> TrainConfig:
    model = config.model
    return config.model_copy(
        update={"model": model.model_copy(update={"denoiser": model.denoiser.model_copy(update=denoiser)})}
    )


def test_a_model_that_reads_audio_is_trained_without_landmarks(train_config: TrainConfig, batch: ClipBatch) -> None:
    config = changed(train_config, landmarks="audio")
    stage = DiffusionStage(awake(Networks(config.model)).eval(), config)
    weighed = replace(batch, landmarks_BTP2=batch.landmarks_BTP2.clone())
    weighed.landmarks_BTP2[:, :, list(stage.topology.pose)] += 0.5  # lips would move the loss's weight
    loss = stage.loss(batch, generator())["diffusion"]
    assert torch.equal(loss, stage.loss(weighed, generator())["diffusion"])
    louder = replace(batch, audio_BTWC=batch.audio_BTWC + 1.0)
    assert not torch.equal(loss, stage.loss(louder, generator())["diffusion"])


def test_min_snr_weighs_steps_by_their_noise(train_config: TrainConfig, networks: Networks, batch: ClipBatch) -> None:
    diffusion = train_config.model.diffusion.model_copy(update={"min_snr": 5.0})
    weighed = train_config.model_copy(update={"model": train_config.model.model_copy(update={"diffusion": diffusion})})
    plain, less = (DiffusionStage(networks, c).loss(batch, generator())["diffusion"] for c in (train_config, weighed))
    assert 0 < float(less.detach()) < float(plain.detach())


@pytest.mark.parametrize("temporal", [False, True])
def test_frames_that_are_seen_together_are_consecutive_and_share_their_noise(
    temporal: bool, train_config: TrainConfig, batch: ClipBatch
) -> None:
    five = train_config.diffusion.model_copy(update={"frames": 5})
    config = changed(train_config.model_copy(update={"diffusion": five}), temporal_attention=temporal)
    stage = DiffusionStage(Networks(config.model), config)
    task = stage.draw(batch, draws())
    one_noise = torch.equal(task.noise_NCHW[0], task.noise_NCHW[1])
    assert (bool((task.at_BK.diff(dim=1) == 1).all()), one_noise) == (temporal, temporal)
    assert not torch.equal(task.noise_NCHW[0], task.noise_NCHW[-1])  # another window


@pytest.fixture
def judge(tmp_path: Path) -> RefineConfig:
    """A refine stage with a small sync expert."""
    expert = SyncExpert(SyncConfig(frames=5, side_px=16, channels=(8, 8), width=8, norm_groups=4))
    save_expert(tmp_path, expert)
    return RefineConfig(steps=1, frames=6, expert=str(tmp_path))


@pytest.mark.parametrize("part", ["pixel", "perceptual", "sync"])
@pytest.mark.parametrize("end_to_end", [True, False])
def test_the_refined_picture_teaches_the_denoiser_and_end_to_end_the_landmarks(
    part: str, end_to_end: bool, train_config: TrainConfig, networks: Networks, batch: ClipBatch, judge: RefineConfig
) -> None:
    stage = RefineStage(networks, train_config.model_copy(update={"refine": judge, "end_to_end": end_to_end}))
    for frozen in (networks.autoencoder, stage.expert, stage.perceptual):
        assert frozen is not None
        frozen.requires_grad_(False)
    stage.loss(batch, generator())[part].backward()
    reached = {
        name: sum(float(p.grad.abs().sum()) for p in net.parameters() if p.grad is not None)
        for name, net in networks.named_children()
    }
    assert reached["denoiser"] > 0
    assert reached["autoencoder"] == 0
    assert (reached["completion"] > 0) == end_to_end


def test_a_stretch_with_an_unseen_frame_is_not_judged_by_its_sync(
    train_config: TrainConfig, networks: Networks, batch: ClipBatch, judge: RefineConfig
) -> None:
    stage = RefineStage(networks, train_config.model_copy(update={"refine": judge}))
    seen = batch.seen_BT.clone()
    seen[:, 4:6] = False  # whatever six frames of ten are drawn
    assert float(stage.loss(batch, generator())["sync"].detach()) > 0
    assert float(stage.loss(replace(batch, seen_BT=seen), generator())["sync"].detach()) == 0


def test_what_is_outside_the_mask_is_not_judged(
    train_config: TrainConfig, networks: Networks, batch: ClipBatch
) -> None:
    stage = RefineStage(networks, train_config.model_copy(update={"refine": RefineConfig(steps=1, frames=4)}))
    task = stage.draw(batch, draws())
    made = stage.denoise(task, batch.landmarks_BTP2)
    nothing = stage.draw(replace(batch, mask_HW=torch.zeros_like(batch.mask_HW)), draws())
    assert all(float(part.detach()) == 0 for part in stage.judged(nothing, made).values())
    assert all(float(part.detach()) > 0 for part in stage.judged(task, made).values())


@pytest.mark.parametrize(("update", "field"), [({"frames": 4}, "refine.frames"), ({"expert": "nowhere"}, "sync")])
def test_a_refine_stage_without_what_it_needs_is_refused(
    update: dict[str, Any], field: str, train_config: TrainConfig, networks: Networks, judge: RefineConfig
) -> None:
    config = train_config.model_copy(update={"refine": judge.model_copy(update=update)})
    with pytest.raises(RequestError) as caught:
        RefineStage(networks, config)
    assert caught.value.field == field
