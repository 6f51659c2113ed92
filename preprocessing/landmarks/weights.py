"""Weight files that are staged by hand: where they belong, and whether they are the ones they should be.

Nothing is ever fetched. A file is checked against the hash in its own name (`s3fd-619a316812.pth`), or against a
`NAME.sha256` beside it, as `sha256sum` writes it.
"""

from __future__ import annotations

from pathlib import Path

from preprocessing.errors import ToolMissing
from shards.fingerprint import file_sha256


def staged_weights(file_name: str) -> Path:
    """The weight file in torch's cache, whole; refuses a missing or damaged one and says where it belongs."""
    import torch

    path = Path(torch.hub.get_dir(), "checkpoints", file_name)
    where = f"put `{file_name}` (from the face-alignment project) into {path.parent}, or choose backend `mediapipe`"
    if not path.is_file():
        raise _refused(f"face-alignment's weights are not here: {where}", file_name)
    expected = _expected_sha256(path)
    if not file_sha256(path).startswith(expected):
        raise _refused(f"the weights are damaged, their sha256 does not begin with {expected}: {where}", file_name)
    return path


def _expected_sha256(path: Path) -> str:
    in_name = path.name.partition("-")[2].partition(".")[0]
    if len(in_name) >= 10 and set(in_name) <= set("0123456789abcdef"):
        return in_name
    beside = path.with_name(path.name + ".sha256")
    said = beside.read_text().split() if beside.is_file() else []
    if not said or len(said[0]) != 64:
        raise _refused(
            f"nothing says what `{path.name}` should be: put the sha256 its publisher gives into {beside}", path.name
        )
    return said[0].lower()


def _refused(message: str, file_name: str) -> ToolMissing:
    return ToolMissing(message, field="faces.backend", value=file_name)
