"""`dubwright evaluate` as it is typed, on the checkpoint that ships and a face that speaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shards.pack import PackConfig
from shards.store import open_store
from tests.support.talking import talking_dataset

ROOT = Path(__file__).parents[2]
COMMAND = "import sys; sys.argv[0] = 'dubwright'; from flows.cli import main; main()"


def test_the_shipped_model_is_judged_and_the_second_run_has_nothing_to_do(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    talking_dataset(store, tmp_path, ("anna", "bert", "cleo"), PackConfig(test_share=0), size_px=128)
    options = ["--store", store.uri, "--out", str(tmp_path / "card"), "--address", "none", "--steps", "2", "--json"]

    def judged() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", COMMAND, "evaluate", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)

    first = json.loads(judged().stdout.splitlines()[-1])
    assert (first["clips"], first["left_out"]) == (1, {})
    summary = first["summary"]
    assert summary["made.outside_change"]["largest"] == 0
    assert summary["made.lips"]["mean"] < summary["undubbed.lips"]["mean"]
    assert summary["made.correlation"]["mean"] > summary["undubbed.correlation"]["mean"]
    assert (tmp_path / "card" / "scorecard.html").read_text().count("data:image/jpeg") == 2
    again = judged()
    assert "judged 1" not in again.stderr
    assert json.loads(again.stdout.splitlines()[-1])["summary"] == summary
