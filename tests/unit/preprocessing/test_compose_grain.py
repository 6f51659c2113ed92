"""Grain is put back where it was lost, as much as there is around, and the same again for the same frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from preprocessing.compose.grain import BLOCK, grain
from shards.schema import F32

HEIGHT, WIDTH = 150, 204


def picture(sigma: float, soft: float = 0.0) -> F32:
    noise = np.random.default_rng(5).standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    if soft:
        noise = cv2.GaussianBlur(noise, (0, 0), soft)
    return (100 + sigma * noise / noise.std()).astype(np.float32)


def halves() -> tuple[F32, F32]:
    """What is replaced (the left half), and the same in blocks with skin on the right."""
    replaced = np.zeros((HEIGHT, WIDTH), np.float32)
    replaced[:, : WIDTH // 2] = 1
    small = cv2.resize(replaced, (WIDTH // BLOCK, HEIGHT // BLOCK), interpolation=cv2.INTER_AREA)
    return replaced, np.dstack([small, 1 - small])


def added(source: F32, made: F32, *, index: int = 7, plane: int = 0, level: float = 1.0) -> F32:
    replaced, blocks = halves()
    return grain(source, made, replaced, blocks, seed=(index, plane), level=level)


def replaced_by(source: F32, clean: float = 100.0) -> F32:
    made = source.copy()
    made[:, : WIDTH // 2] = clean
    return made


@pytest.mark.parametrize(("sigma", "soft"), [(1.0, 0.0), (3.0, 0.0), (2.0, 0.6), (4.0, 0.6)])
def test_a_clean_picture_gets_the_grain_around_it_and_no_more(sigma: float, soft: float) -> None:
    source = picture(sigma, soft)
    out = replaced_by(source) + added(source, replaced_by(source))
    left, right = out[:, : WIDTH // 2].std(), source[:, WIDTH // 2 :].std()
    assert 0.7 * right < left <= 1.02 * right


def test_a_picture_with_as_much_grain_gets_none() -> None:
    source = picture(3.0)
    made = replaced_by(source)
    made[:, : WIDTH // 2] += 3.3 * np.random.default_rng(8).standard_normal((HEIGHT, WIDTH // 2)).astype(np.float32)
    assert not added(source, made).any()


def test_a_picture_with_some_of_it_gets_the_rest() -> None:
    source = picture(3.0)
    made = replaced_by(source)
    made[:, : WIDTH // 2] += 1.5 * np.random.default_rng(8).standard_normal((HEIGHT, WIDTH // 2)).astype(np.float32)
    out = made + added(source, made)
    assert 0.8 < out[:, : WIDTH // 2].std() / source[:, WIDTH // 2 :].std() <= 1.05


def test_where_nothing_was_replaced_nothing_is_added() -> None:
    source = picture(3.0)
    assert not added(source, replaced_by(source))[:, WIDTH // 2 :].any()
    replaced, blocks = halves()
    assert not grain(source, source, replaced * 0, blocks * (0, 1), seed=(1, 0), level=1.0).any()


def test_a_clean_source_stays_clean() -> None:
    source = np.rint(100 + np.linspace(0, 20, WIDTH, dtype=np.float32)[None].repeat(HEIGHT, axis=0))
    assert not added(source, replaced_by(source)).any()


def test_hair_and_wrinkles_are_no_grain() -> None:
    source = picture(1.0)
    source[::40] += 60
    clean = replaced_by(source)
    assert added(source, clean)[:, : WIDTH // 2].std() < 2.5


def test_what_is_too_coarse_for_grain_is_not_imitated_in_full() -> None:
    source = picture(25.0)
    assert 3 < added(source, replaced_by(source))[:, : WIDTH // 2].std() < 8


def test_every_frame_and_plane_has_its_own_and_always_the_same() -> None:
    source = picture(3.0)
    made = replaced_by(source)
    first = added(source, made)
    assert (first == added(source, made)).all()
    for other in (added(source, made, index=8), added(source, made, plane=1)):
        left = np.s_[:, : WIDTH // 2]
        assert abs(np.corrcoef(first[left].ravel(), other[left].ravel())[0, 1]) < 0.1


def test_ten_bits_have_four_times_the_steps() -> None:
    source = picture(3.0)
    eight, ten = added(source, replaced_by(source)), added(4 * source, 4 * replaced_by(source), level=4.0)
    np.testing.assert_allclose(ten, 4 * eight, rtol=1e-3, atol=1e-3)
    faint = picture(0.5)
    assert added(faint, replaced_by(faint)).any()
    assert not added(faint, replaced_by(faint), level=4.0).any()


def test_a_patch_too_small_to_measure_gets_none() -> None:
    source = picture(3.0)
    replaced, blocks = halves()
    blocks[..., 1] = 0
    blocks[0, -2:, 1] = 1
    assert not grain(source, replaced_by(source), replaced, blocks, seed=(7, 0), level=1.0).any()


def test_a_region_larger_than_the_tile_is_filled_evenly() -> None:
    shape = (700, 1100)
    rng = np.random.default_rng(4)
    source = (100 + 3 * rng.standard_normal(shape)).astype(np.float32)
    blocks = np.ones((shape[0] // BLOCK, shape[1] // BLOCK, 2), np.float32)
    made = np.full(shape, 100, np.float32)
    out = grain(source, made, np.ones(shape, np.float32), blocks, seed=(3, 0), level=1.0)
    assert out.shape == shape
    columns = np.abs(np.diff(out, axis=1)).mean(axis=0)
    assert columns.max() < 1.3 * columns.mean()
