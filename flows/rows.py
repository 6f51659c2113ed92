"""What a row of the catalogue holds: one output, fully named. Types only; reading them is `manifest.py`.

The fields of `TitleRow` are the columns there are: the reader takes their names from here, and so does the README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.fields import FieldInfo

from flows.moments import Moment
from preprocessing.media.encode import CodecPolicy
from preprocessing.media.length import DurationPolicy
from preprocessing.media.lineup import SubtitlePolicy

QUALITY_STEPS = {"draft": 2, "standard": 4, "final": 10}
"""Denoising steps by quality."""
TRACK = "track:"
"""Begins a speaker's reference that is an identity of the analysis, not a picture."""

Quality = Literal["draft", "standard", "final"]
SpeakerMode = Literal["auto", "largest", "map", "off"]
Provenance = Literal["sidecar", "c2pa", "none"]


def _moment(value: Any) -> Any:
    """Numbers are seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    return Moment.parse(value if isinstance(value, str) else f"{value:.9f}")


def _day(value: Any) -> Any:
    """Days as ISO 8601 writes them: 3/4/2027 is a day in March or in April, and a bare number is anything."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("not a day such as 2027-03-31") from None


MomentCell = Annotated[Moment, BeforeValidator(_moment), PlainSerializer(str)]
Day = Annotated[date, BeforeValidator(_day)]
Span = tuple[MomentCell, MomentCell]
"""(from, to): the second moment is not in it any more."""


class Segment(BaseModel):
    """A turn: from `start` to `end` this speaker is heard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: MomentCell
    end: MomentCell
    speaker: str = Field(min_length=1, max_length=120)
    audio: Path | None = Field(
        None, description="the speaker's own sound, on the title's clock; None: the row's `audio`"
    )


class TitleRow(BaseModel):
    """One output: this picture, with lips that speak this sound."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    title_id: str = Field(description="names the title; rows of one title share its picture and its analysis")
    video: Path = Field(description="the source, relative to the catalogue")
    audio: Path = Field(description="the new speech, delivered as it is; relative to the catalogue")
    language: str = Field(description="of the speech, BCP-47: `es`, `pt-BR`, `zh-Hant`")
    output: str = Field(
        description="file name of the result, inside `--out`; may hold `{title_id}`, `{language}`, `{stem}` (of the "
        "video) and `{ext}`; when left out: `{title_id}.{language}{ext}`"
    )
    audio_stream: int | None = Field(
        None, ge=0, description="stream index in the `audio` file; when left out its default sound track"
    )
    audio_offset_ms: int = Field(
        0, description="the speech begins so many ms after the first frame; negative: so much of its beginning is cut"
    )
    duration_policy: DurationPolicy = Field(
        "keep_picture",
        description="when speech and picture differ in length: the picture's length holds | the picture ends with the "
        "speech | silence fills up | the last frame is held | refused when they differ by more than 100 ms",
    )
    start: MomentCell | None = Field(
        None, validation_alias="start_tc", description="only from here on is dubbed, the rest passes through"
    )
    end: MomentCell | None = Field(None, validation_alias="end_tc", description="only up to here is dubbed")
    segments: tuple[Segment, ...] = Field(
        (),
        description="speaker turns: a CSV, JSON or JSON Lines file with `start`, `end`, `speaker` and, for a speaker's "
        "own sound, `audio` (relative to that file), or the same as JSON in the cell (relative to the catalogue)",
    )
    speaker_map: Mapping[str, str] = Field(
        default_factory=dict,
        description='who the speakers are, as JSON: `{"Ann": "ann.jpg", "Bob": "track:1"}`, a picture (relative to the '
        "catalogue) or an identity of the analysis",
    )
    speaker_mode: SpeakerMode = Field(
        "auto",
        description="whose lips move: who was seen to speak | the largest face | only those in the `speaker_map` | "
        "nobody's",
    )
    excluded: tuple[Span, ...] = Field(
        (), validation_alias="exclude_ranges", description="left alone: `1:00-1:30, 01:04:10:00-01:04:12:12`"
    )
    quality: Quality = Field("standard", description="4, 2 or 10 denoising steps")
    seed: int = Field(0, ge=0, lt=2**63, description="of the noise; the same seed gives the same picture")
    checkpoint: Path | None = Field(None, description="a model of this row's own, relative to the catalogue")
    codec_policy: CodecPolicy = Field("match", description="`match` re-creates the source's codec, depth and quality")
    keep_audio: bool = Field(True, description="the source's other sound tracks travel along")
    dub_default: bool = Field(True, description="the dub is the default sound track; else it comes after the source's")
    subtitle_policy: SubtitlePolicy = Field(
        "keep", description="`not_default`: kept, and none of them comes on by itself"
    )
    provenance: Provenance = Field(
        "sidecar", description="what says that the picture is AI-generated in part; `c2pa` writes the sidecar too"
    )
    consent_ref: str | None = Field(None, description="where the speakers' consent is filed")
    rights_end: Day | None = Field(None, description="the last day the title may be dubbed, `2027-03-31`")
    priority: int = Field(0, description="rows with a higher one come first")
    number: int = Field(0, description="the row's place in the catalogue, for messages; no column")
    meta: dict[str, str] = Field(default_factory=dict, description="free `meta.*` columns, passed to the report")

    @property
    def steps(self) -> int:
        return QUALITY_STEPS[self.quality]

    def files(self) -> Iterator[tuple[str, Path]]:
        """(column, path) of each file it is made from, once."""
        yield from (("video", self.video), ("audio", self.audio))
        stems = (turn.audio for turn in self.segments if turn.audio is not None)
        yield from (("segments", path) for path in dict.fromkeys(stems))
        pictures = (place for place in self.speaker_map.values() if not place.startswith(TRACK))
        yield from (("speaker_map", Path(place)) for place in dict.fromkeys(pictures))


REQUIRED = ("title_id", "video", "audio", "language")


def columns() -> dict[str, FieldInfo]:
    """Every column but `meta.*`, in the order of the README."""
    fields = {name: field for name, field in TitleRow.model_fields.items() if name not in ("number", "meta")}
    return {str(field.validation_alias or name): field for name, field in fields.items()}


def schema_table() -> str:
    """The README's table of columns (Markdown)."""
    lines = ["| column | values (the first is the default) | what it is |", "|---|---|---|"]
    for name, field in columns().items():
        column = f"**`{name}`**" if name in REQUIRED else f"`{name}`"
        what = (field.description or "").replace(" | ", "; ")
        lines.append(f"| {column} | {_values(field)} | {what} |")
    return "\n".join([*lines, "| `meta.*` | text | anything, passed to the report |"])


def _values(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        first = field.get_default()
        return ", ".join(f"`{value}`" for value in (first, *(v for v in get_args(kind) if v != first)))
    if kind is bool:
        return "`true`, `false`" if field.get_default() else "`false`, `true`"
    return f"`{field.get_default()}`, a whole number" if kind is int else ""
