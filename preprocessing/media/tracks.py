"""Which stream may travel in which container, and under which name.

Owns the tables: containers we finish in, codecs and flags each of them carries, and language codes. `lineup.py` chooses
by them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from preprocessing.media.base import MediaInfo
from preprocessing.media.hdr import StaticHdr
from preprocessing.media.probe import picture
from shards.errors import RequestError
from shards.schema import FrameTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A kind of file a title is finished in."""

    muxer: str
    video: frozenset[str]
    audio: frozenset[str] | None
    """Codecs it carries; None when it carries any."""
    subtitles: frozenset[str] | None
    flags: frozenset[str]
    """Dispositions that are read back as they were written."""
    has_attachments: bool
    has_covers: bool
    has_edit_lists: bool
    """Times count in ticks of our choice; else in whole milliseconds."""

    @property
    def is_matroska(self) -> bool:
        return self.muxer == "matroska"

    def carries_audio(self, codec: str) -> bool:
        return self.audio is None or codec in self.audio

    def carries_subtitles(self, codec: str) -> bool:
        return self.subtitles is None or codec in self.subtitles


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackLabel:
    """What a finished track is to say of itself and ffmpeg does not write."""

    name: str | None = None
    code: str | None = None
    """Three letters."""
    language: str | None = None
    """The whole BCP-47 tag, where three letters do not say it."""
    hdr: StaticHdr = field(default_factory=StaticHdr)
    is_enabled: bool = True
    """Whether a player plays it unasked."""


_PCM = {f"pcm_{kind}" for kind in ("s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "u8", "alaw",
                                   "mulaw")}  # fmt: skip
_VIDEO = {"h264", "hevc"}
_ROLES = {"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired"}
_MP4 = Container(
    muxer="mp4",
    video=frozenset(_VIDEO),
    audio=frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    subtitles=frozenset({"mov_text"}),
    flags=frozenset(_ROLES),
    has_attachments=False,
    has_covers=True,
    has_edit_lists=True,
)
_MOV = Container(
    muxer="mov",
    video=frozenset({*_VIDEO, "prores", "dnxhd"}),
    audio=frozenset({"aac", "mp3", "ac3", "eac3", "alac", *_PCM}),
    subtitles=frozenset({"mov_text"}),
    flags=frozenset({"default"}),
    has_attachments=False,
    has_covers=False,
    has_edit_lists=True,
)
_MKV = Container(
    muxer="matroska",
    video=frozenset({*_VIDEO, "prores"}),
    audio=None,
    subtitles=frozenset({"subrip", "ass", "ssa", "webvtt", "dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle"}),
    flags=frozenset({*_ROLES, "original"}),
    has_attachments=True,
    has_covers=True,
    has_edit_lists=False,
)
CONTAINERS: dict[str, Container] = {".mp4": _MP4, ".m4v": _MP4, ".mov": _MOV, ".mkv": _MKV}
"""File name ending -> container."""


def refuse_unfinishable(out: Path, info: MediaInfo, times: FrameTimes, *, codec: str | None = None) -> Container:
    """The container of a name, or why this title cannot be finished in it: asked before hours of rendering.

    `codec` is what the picture will be in; the source's own, without it.
    """
    container, video = container_for(out), picture(info)
    others = [ending for ending, c in CONTAINERS.items() if c.has_edit_lists]
    codec = codec if codec is not None else video.codec
    carrying = [ending for ending, c in CONTAINERS.items() if codec in c.video]
    # A picture in any other codec is encoded as H.264, which travels everywhere.
    if carrying and codec not in container.video:
        raise RequestError(
            f"{container.muxer} carries no {codec} picture", field="out", value=out.name, choices=carrying
        )
    if container.has_edit_lists:
        return container
    if any((int(p) * times.base * 1000).denominator != 1 for p in times.pts):
        raise RequestError(
            "matroska counts in whole milliseconds and cannot hold this source's frame times",
            field="out",
            value=out.name,
            choices=others,
        )
    if video.rotation:
        raise RequestError("matroska keeps no rotation flag", field="out", value=out.name, choices=others)
    return container


def container_for(out: Path) -> Container:
    """The container of a finished file's name; refuses an ending we cannot finish in."""
    try:
        return CONTAINERS[out.suffix.lower()]
    except KeyError:
        raise RequestError(
            "titles are not finished in this kind of file", field="out", value=out.name, choices=CONTAINERS
        ) from None


def whole_tag(tag: str) -> str | None:
    """A language tag in full where three letters do not say it (`pt-br` -> `pt-BR`); None where they do."""
    first, *more = tag.replace("_", "-").split("-")
    if not more and iso639(tag) is not None:
        return None
    # RFC 5646, 2.1.1: regions in capitals, scripts with one, everything else small.
    shaped = (m.upper() if len(m) == 2 else m.title() if len(m) == 4 and m.isalpha() else m.lower() for m in more)
    return "-".join([first.lower(), *shaped])


def iso639(tag: str) -> str | None:
    """The three-letter code of a BCP-47 tag (`pt-BR` -> `por`), all that most containers hold; None when unknown."""
    primary = tag.replace("_", "-").split("-")[0].lower()
    if len(primary) == 3 and primary.isalpha():
        return primary
    return _ISO_639.get(primary)


# ISO 639-1 to 639-2/B, the codes that QuickTime and Matroska files use.
_PAIRS = (
    "af:afr am:amh ar:ara as:asm az:aze be:bel bg:bul bn:ben bo:tib br:bre bs:bos ca:cat cs:cze cy:wel da:dan "
    "de:ger el:gre en:eng eo:epo es:spa et:est eu:baq fa:per fi:fin fil:fil fo:fao fr:fre fy:fry ga:gle gd:gla "
    "gl:glg gu:guj ha:hau he:heb hi:hin hr:hrv ht:hat hu:hun hy:arm id:ind ig:ibo is:ice it:ita ja:jpn jv:jav "
    "ka:geo kk:kaz km:khm kn:kan ko:kor ku:kur ky:kir la:lat lb:ltz lo:lao lt:lit lv:lav mg:mlg mi:mao mk:mac "
    "ml:mal mn:mon mr:mar ms:may mt:mlt my:bur nb:nob ne:nep nl:dut nn:nno no:nor or:ori pa:pan pl:pol ps:pus "
    "pt:por qu:que ro:rum ru:rus sd:snd si:sin sk:slo sl:slv so:som sq:alb sr:srp su:sun sv:swe sw:swa ta:tam "
    "te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzb vi:vie xh:xho yi:yid "
    "yo:yor zh:chi zu:zul"
)
_ISO_639 = dict(pair.split(":") for pair in _PAIRS.split())
