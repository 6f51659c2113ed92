from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.config import DenoiserConfig, ModelConfig
from model.layers import PlaceCode, cell_places
from model.talkformer import Attention, AudioEmbed, LandmarkEmbed, TalkFormer, Tokens


def test_the_code_of_a_place_is_most_like_itself() -> None:
    places = cell_places(8, 8, torch.device("cpu"))
    code = PlaceCode(32)(places)
    assert torch.equal((code @ code.T).argmax(dim=1), torch.arange(64))


def test_cells_are_given_row_by_row_from_the_top_left() -> None:
    places = cell_places(2, 4, torch.device("cpu"))
    assert places[:2].tolist() == [[-0.75, -0.5], [-0.25, -0.5]]
    assert places[4].tolist() == [-0.75, 0.5]


def test_an_untrained_attention_already_looks_at_what_is_near() -> None:
    attention = Attention(32, 32, 32, nearness=3.0)
    places = cell_places(8, 8, torch.device("cpu"))
    with torch.no_grad():
        attention.q.weight.zero_()
        attention.kv.weight.copy_(torch.cat([torch.zeros(32, 32), torch.eye(32)]))
        torch.nn.init.eye_(attention.out.weight)
        marks = torch.zeros(1, 64, 32)
        marks[0, 27, 0] = 1.0
        got = attention(torch.zeros(1, 64, 32), places, Tokens(value_BMD=marks, place_BM2=places[None]))
    assert int(got[0, :, 0].argmax()) == 27


def test_a_landmark_is_known_by_its_place_and_its_identity() -> None:
    embed = LandmarkEmbed(5, 16, 8)
    points = torch.zeros(1, 5, 2)
    tokens = embed(points).value_BMD
    assert (tokens[0, 0] - tokens[0, 4]).abs().max() > 1e-3  # same place, other point
    assert (embed(points + 0.1).value_BMD - tokens).abs().max() > 1e-3  # same point, other place


def test_the_block_starts_as_the_identity(config: ModelConfig) -> None:
    block = TalkFormer(16, config.denoiser)
    h = torch.randn(2, 16, 4, 4)
    lm = Tokens(value_BMD=torch.randn(2, 7, 8), place_BM2=torch.rand(2, 7, 2))
    ref = Tokens(value_BMD=torch.randn(1, 16, 16), place_BM2=cell_places(4, 4, h.device)[None])
    assert torch.equal(block(h, lm, ref, (torch.ones(2), torch.ones(2))), h)


def test_an_audio_token_is_known_by_its_sound_and_its_moment_and_lies_nowhere_in_the_picture() -> None:
    embed = AudioEmbed(6, 16)
    tokens = embed(torch.zeros(1, 5, 6))
    assert (tokens.value_BMD[0, 0] - tokens.value_BMD[0, 4]).abs().max() > 1e-3
    assert (embed(torch.ones(1, 5, 6)).value_BMD - tokens.value_BMD).abs().max() > 1e-3
    assert not tokens.place_BM2.any()


SIDE, REACH, WIDTH, SEEN, STEPS = 8, 2, 32, 24, 120


def shifted_textures(generator: torch.Generator, count: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures with some channels hidden, references shifted by up to two cells, the whole, the shifts."""
    wide = SIDE + 2 * REACH
    world = torch.randn(count, WIDTH, wide, wide, generator=generator)
    shift = torch.randint(-REACH, REACH + 1, (count, 2), generator=generator)
    reference = world[..., REACH:-REACH, REACH:-REACH]
    whole = torch.stack(
        [
            w[:, REACH + y : REACH + y + SIDE, REACH + x : REACH + x + SIDE]
            for w, (x, y) in zip(world, shift, strict=True)
        ]
    )
    hidden = whole.clone()
    hidden[:, SEEN:] = 0
    return hidden, reference, whole, shift


def test_appearance_attention_learns_to_find_a_shifted_texture() -> None:
    """It is never told the shift: it learns to fill in what only the reference has, and for that it must find it."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        block = TalkFormer(WIDTH, DenoiserConfig(head_dim=WIDTH, landmark_width=8, motion_attention=False))
    assert block.appearance is not None
    given: list[tuple[Tensor, Tensor, Tokens]] = []
    block.appearance.register_forward_hook(lambda module, args, out: given.append(args))
    optimizer = torch.optim.Adam(block.parameters(), lr=5e-3)
    places = cell_places(SIDE, SIDE, torch.device("cpu"))

    def fill_in(count: int) -> tuple[Tensor, Tensor]:
        hidden, reference, whole, shift = shifted_textures(generator, count)
        tokens = Tokens(value_BMD=reference.flatten(2).transpose(1, 2), place_BM2=places[None].expand(count, -1, -1))
        ones = torch.ones(count)
        return (block(hidden, tokens, tokens, (ones, ones)) - whole).square().mean(), shift

    for _ in range(STEPS):
        loss, _ = fill_in(16)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with torch.no_grad():
        _, shift = fill_in(64)
        found = block.appearance.looks_at(*given[-1]) - places
    truth = shift[:, None] * (2 / SIDE)
    inside = (places + truth).abs().amax(dim=-1) < 1  # what the reference does not show cannot be found
    pairs = torch.stack([found[inside].flatten(), truth.expand_as(found)[inside].flatten()])
    assert float(torch.corrcoef(pairs)[0, 1]) >= 0.9


@pytest.mark.parametrize("temporal", [False, True])
def test_the_block_compiles_without_a_graph_break_forward_and_back(config: ModelConfig, temporal: bool) -> None:
    """`aot_eager` traces both directions as `inductor` does, and needs no C++ compiler."""
    block = TalkFormer(16, config.denoiser.model_copy(update={"temporal_attention": temporal}))
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.1)
    h = torch.randn(4, 16, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    lm = Tokens(value_BMD=torch.ones(4, 7, 8), place_BM2=torch.linspace(-1, 1, 56).reshape(4, 7, 2))
    ref = Tokens(value_BMD=torch.ones(2, 16, 16), place_BM2=cell_places(4, 4, h.device).expand(2, -1, -1))
    given = (lm, ref, (torch.ones(4), torch.ones(4)), torch.tensor([[0.0, 1.0], [5.0, float("nan")]]))
    results = []
    for run in (block, torch.compile(block, fullgraph=True, backend="aot_eager")):
        h.grad = None
        out = run(h, *given)
        out.square().sum().backward()
        results.append((out.detach(), h.grad))
    torch.testing.assert_close(results[0], results[1])
