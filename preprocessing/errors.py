"""What can go wrong with footage and the tools that read it.

    DubwrightError
    |-- RequestError
    |   `-- ToolMissing          ffmpeg, an encoder or a weight file is not installed: says what to install
    |-- LayoutError              a container is not laid out as its format says, or not in a way we may edit
    `-- MediaToolError           a media program failed: its command, exit status and the end of what it said
        `-- MediaToolTimeout     it made no progress for too long and was killed

    Unusable                     footage that cannot be used: carries the `Rejection` it becomes

`Unusable` never leaves the room as an error: `clip.py` turns it into its `Rejection`.
"""

from __future__ import annotations

from collections.abc import Sequence

from shards.errors import DubwrightError, RequestError
from shards.schema import Rejection


class ToolMissing(RequestError):
    """Something that must be installed is not."""


class LayoutError(DubwrightError):
    """A file's table of tracks cannot be read, or not be changed without moving what it points at."""


class MediaToolError(DubwrightError):
    """An external media program failed."""

    def __init__(self, message: str, *, command: Sequence[str], status: int | None, stderr: str) -> None:
        self.command, self.status, self.stderr = tuple(command), status, stderr
        tail = stderr.strip()[-800:]
        super().__init__(f"{message} (exit status {status}): {' '.join(command)}" + (f"\n{tail}" if tail else ""))


class MediaToolTimeout(MediaToolError):
    """The program was killed after its deadline."""


class Unusable(DubwrightError):
    """This footage cannot be used; expected, and reported as a row."""

    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection
        super().__init__(f"{rejection.code}: {rejection.detail}")

    @classmethod
    def because(cls, code: str, detail: str, *, value: float | None = None, threshold: float | None = None) -> Unusable:
        return cls(Rejection(code=code, detail=detail, value=value, threshold=threshold))
