"""What a run is about: a title, and the voice that speaks it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from flows.moments import Moment
from flows.rows import TitleRow
from preprocessing.media.base import MediaInfo
from shards.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """A row whose files were found, read and named by content."""

    row: TitleRow
    info: MediaInfo
    video_sha256: str
    audio_sha256: str
    start_timecode: str | None = None
    """Of the picture's first frame, as the file says it; what a row's timecodes count from."""

    def seconds(self, moment: Moment) -> Fraction:
        """Where it lies on the title's clock; `RequestError` where this picture has no such frame."""
        video = self.info.video
        try:
            return moment.seconds(video.frame_rate if video else Fraction(25), self.start_timecode)
        except ValueError as error:
            raise RequestError(str(error), where=f"row {self.row.number}", value=str(moment)) from error

    @property
    def num_frames(self) -> int:
        return self.info.video.num_frames if self.info.video else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """What renders: the checkpoint, as far as results depend on it."""

    checkpoint: str
    digest: str
    crop_px: int
    window: str
    topology: str
    features: tuple[str, ...]
    description: str
