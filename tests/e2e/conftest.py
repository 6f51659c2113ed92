"""The command as a user types it, in a process of its own, with its own Prefect home."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 280


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        """The object that `--json` prints last."""
        found: dict[str, Any] = json.loads(self.stdout.strip().splitlines()[-1])
        return found


@pytest.fixture(scope="session")
def dubwright(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """`dubwright(*arguments, expect=0)`."""
    home = tmp_path_factory.mktemp("prefect")

    def run(*arguments: str | Path, expect: int = 0) -> Ran:
        done = subprocess.run(
            [Path(sys.executable).with_name("dubwright"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            env={**os.environ, "PREFECT_HOME": str(home)},
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == expect, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ran(status=done.returncode, stdout=done.stdout, stderr=done.stderr)

    return run
