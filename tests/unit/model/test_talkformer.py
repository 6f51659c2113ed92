from __future__ import annotations

import torch

from model.config import ModelConfig
from model.layers import PlaceCode, cell_places
from model.talkformer import Attention, LandmarkEmbed, TalkFormer, Tokens


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
