"""Where items come from, and how many are left."""

from __future__ import annotations

import pytest

from flows.cluster.feed import Feed


def test_a_given_source_ends_the_feed() -> None:
    feed = Feed(["a", "b"])
    assert (feed.left, feed.is_over) == (2, False)
    assert [feed.take(), feed.take()] == ["a", "b"]
    assert (feed.left, feed.is_over) == (0, True)
    assert feed.take() is None
    assert Feed([]).is_over


def test_a_source_that_does_not_say_how_long_it_is_counts_for_as_much_again() -> None:
    feed = Feed(iter(range(300)))
    assert feed.left == 100
    taken = [feed.take() for _ in range(300)]
    assert taken == list(range(300))
    assert (feed.left, feed.is_over) == (300, False)
    assert feed.take() is None
    assert (feed.left, feed.is_over) == (0, True)


def test_an_open_feed_waits_for_what_is_put_in() -> None:
    feed: Feed[str] = Feed()
    assert (feed.take(), feed.is_over) == (None, False)
    feed.put("a")
    feed.close()
    assert (feed.left, feed.is_over) == (1, False)
    assert feed.take() == "a"
    assert feed.is_over


@pytest.mark.parametrize("feed", [Feed(["a"]), Feed(iter(()))])
def test_nothing_is_put_into_a_closed_feed(feed: Feed[str]) -> None:
    with pytest.raises(RuntimeError, match="closed"):
        feed.put("b")
