"""The facts in words: readable on a terminal, nothing of interest left out."""

from __future__ import annotations

from flows.explain.words import told


def test_values_are_told_a_line_each_and_parts_are_indented() -> None:
    found = {
        "kind": "clip",
        "scores": {"yaw": 0.5},
        "names": ["a", "b"],
        "numbers": [1, 2],
        "language": None,
        "left": [],
    }
    assert told(found).splitlines() == [
        *(
            "kind: clip",
            "scores:",
            "  yaw: 0.5",
            "names:",
            "  a",
            "  b",
            "numbers: 1, 2",
            "language: none",
            "left: none",
        )
    ]


def test_streams_are_told_one_by_one() -> None:
    assert told({"kind": "video", "audio": [{"codec": "aac"}, {"codec": "ac3"}]}).splitlines() == [
        *("kind: video", "audio 1:", "  codec: aac", "audio 2:", "  codec: ac3")
    ]


def test_long_texts_keep_their_lines() -> None:
    assert told({"kind": "unit", "last_words": "one\ntwo"}) == "kind: unit\nlast_words:\n  one\n  two"


def test_a_store_is_told_by_its_newest_dataset_and_points_to_the_rest() -> None:
    found = {"kind": "store", "uri": "data", "datasets": [1, 2], "plans": [], "quarantined": [], "runs": ["r"]}
    text = told(found | {"dataset": {"hash": "abc"}, "clips": ["data#k"]})
    assert "datasets: 2" in text
    assert "newest_dataset:\n  hash: abc\nclips:\n  data#k" in text
    assert text.endswith("more: dubwright store status data")
    assert "newest_dataset" not in told(found)


def test_the_whole_config_of_a_checkpoint_is_left_to_json() -> None:
    assert told({"kind": "checkpoint", "config": {"x": 1}}) == "kind: checkpoint"
