"""The whole path of one clip: footage -> shots, faces, tracks, crops -> clips with their speech, features and scores.

One pass over the pictures, in constant memory: `analyse` looks, does not know the speech, and keeps the crops in a
`CropStore`; `cut_clips` makes clips of them, and reads again only what was not kept. Training and dubbing share both.
Thresholds on quality are not applied here (`quality/gates.py` does that); only what cannot be a clip at all becomes a
`Rejection`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import TracebackType

import numpy as np

from preprocessing.audio.base import audio_feature, extract_between
from preprocessing.config import PreprocessConfig
from preprocessing.errors import Unusable
from preprocessing.faces.align import align
from preprocessing.faces.base import AlignedTrack, Analysis
from preprocessing.faces.crop import crop_frame
from preprocessing.faces.identify import Appearance, identify
from preprocessing.faces.keep import CropKeeper, CropStore
from preprocessing.faces.stretches import span_of, unused_stretches
from preprocessing.faces.survey import Survey
from preprocessing.faces.track import FollowedFace
from preprocessing.landmarks.base import LandmarkBackend, landmark_backend
from preprocessing.media.base import FrameSource
from preprocessing.pieces import Piece, cropped, people_at_once, pieces_of, too_short
from preprocessing.quality.scores import picture_scores, sound_scores
from preprocessing.quality.sync import MAX_OFFSET_S, source_sync
from shards.fingerprint import fingerprint
from shards.schema import U8, AudioFeatures, ClipSample, FrameTimes, Provenance, Rejection, Span, Speech

log = logging.getLogger(__name__)

Scorer = Callable[[ClipSample], Mapping[str, float]]
"""Further scores of a finished clip, such as a sync expert's."""
SPEECH_MARGIN_S = Fraction(1, 5)
"""Sound kept before and after a clip, so that the features of its first and last frame see what was really said."""


class ClipTools:
    """What must be loaded once and is used for every clip."""

    def __init__(self, config: PreprocessConfig, *, scorer: Scorer | None = None) -> None:
        self.scorer = scorer
        self.backend: LandmarkBackend = landmark_backend(
            config.faces.backend, max_faces=config.faces.max_faces, detector=config.faces.detector
        )
        self.features = tuple(audio_feature(name) for name in config.audio.features)

    def setup(self) -> None:
        self.backend.setup()
        for feature in self.features:
            feature.setup()

    def close(self) -> None:
        self.backend.close()
        for feature in self.features:
            feature.close()

    def features_of(self, speech: Speech, start_s: Fraction, end_s: Fraction) -> tuple[AudioFeatures, ...]:
        """Every configured feature between two moments of the speech's clock, with `start_s` as the new zero.

        The columns are those of the whole recording: dubbing has them of whole speeches.
        """
        return tuple(extract_between(feature, speech, start_s, end_s) for feature in self.features)

    def __enter__(self) -> ClipTools:
        self.setup()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# -- first pass: what is in the pictures -------------------------------------------------------------------------------


def analyse(
    source: FrameSource,
    backend: LandmarkBackend,
    config: PreprocessConfig,
    *,
    crops: CropStore | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Analysis:
    """One read of the pictures; `on_progress` is told (frames done, frames in all).

    With `crops`, the crops of every track are kept there as far as it has room. Footage that breaks off keeps what came
    before, and the rest becomes a rejection.
    """
    fps = _mean_fps(source.times, config)
    survey = Survey(backend, config.faces, new_keeper=_keepers(crops, backend, config, fps))
    broken: Rejection | None = None
    try:
        for frame in source.frames():
            survey.push(frame)
            if on_progress is not None:
                on_progress(frame.index + 1, len(source.times))
    except Unusable as unusable:
        broken = dataclasses.replace(unusable.rejection, span=_unread(survey, source.times))
        log.info("%s: %s", source.info.path.name, unusable)
    survey.end_shot()
    if broken is None and survey.num_frames != len(source.times):
        raise RuntimeError(
            f"{source.info.path.name} gave {survey.num_frames} of {len(source.times)} frames, and no reason"
        )
    kept = [face for face in survey.faces if face.height_px >= config.faces.min_height_px]
    if crops is not None:
        for number, face in enumerate(kept):
            crops.name(number, face.crops)
    return _analysis(survey, kept, source.times, broken, config, backend_name=f"{backend.name}@{backend.version}")


def _keepers(
    crops: CropStore | None, backend: LandmarkBackend, config: PreprocessConfig, fps: float
) -> Callable[[], CropKeeper] | None:
    if crops is None:
        return None
    return lambda: CropKeeper(crops, config.crop, backend.topology, sigma_frames=config.crop.smooth_s * fps)


def _mean_fps(times: FrameTimes, config: PreprocessConfig) -> float:
    seconds = times.seconds()
    return (len(times) - 1) / float(seconds[-1] - seconds[0]) if len(times) > 1 else float(config.media.fps)


def _analysis(
    survey: Survey,
    kept: Sequence[FollowedFace],
    times: FrameTimes,
    broken: Rejection | None,
    config: PreprocessConfig,
    *,
    backend_name: str,
) -> Analysis:
    least, fps = config.faces.min_height_px, _mean_fps(times, config)
    small = [face for face in survey.faces if face.height_px < least]
    names = identify([_appearance(face) for face in kept])
    rejections = unused_stretches(survey.shots, kept, small, times, least)
    return Analysis(
        width=survey.width,
        height=survey.height,
        times=times,
        shots=tuple(survey.shots),
        tracks=tuple(
            align(face.track, config.crop, fps=fps, identity=name, look=face.look.edges)
            for face, name in zip(kept, names, strict=True)
        ),
        rejections=tuple(rejections if broken is None else [*rejections, broken]),
        landmark_backend=backend_name,
    )


def _unread(survey: Survey, times: FrameTimes) -> Span | None:
    """The stretch that could not be read; None for the whole source."""
    return span_of(times, survey.num_frames, len(times)) if 0 < survey.num_frames < len(times) else None


def _appearance(face: FollowedFace) -> Appearance:
    track = face.track
    amount = face.height_px * len(track.landmarks)
    return Appearance(start=track.start, stop=track.stop, size=amount, look=face.look)


# -- second pass: clips ------------------------------------------------------------------------------------------------


def cut_clips(
    analysis: Analysis,
    source: FrameSource,
    speech: Speech | None,
    tools: ClipTools,
    config: PreprocessConfig,
    *,
    source_sha256: str,
    source_name: str,
    code_version: str,
    language: str | None = None,
    crops: CropStore | None = None,
) -> Iterator[ClipSample | Rejection]:
    """One clip, or the reason why not, per piece of every track. `speech` has its zero at the source's first frame.

    What `analyse` kept in `crops` is not read again.
    """
    if speech is None and config.on_missing_speech == "reject":
        yield Rejection(code="no_audio", detail="there is no sound track to learn from")
        return
    of_source = Provenance(
        source_sha256=source_sha256,
        source_name=source_name,
        span=span_of(analysis.times, 0, len(analysis.times)),
        landmark_backend=analysis.landmark_backend,
        config_sha256=fingerprint(config.measured()),
        code_version=code_version,
    )
    whole: list[Piece] = []
    for piece in pieces_of(analysis.tracks, config.clip):
        if piece.stop - piece.start < config.clip.min_frames:
            yield too_short(piece, analysis.times, config.clip.min_frames)
        else:
            whole.append(piece)
    shift = _shift_s(analysis, speech, config)
    if speech is not None:
        speech = dataclasses.replace(speech, origin_s=speech.origin_s - shift)
    heard = _no_sound(config) if speech is None else speech
    for done in cropped(whole, source, crops):
        if isinstance(done, Rejection):
            yield done
            continue
        clip = _clip(done, analysis.times, heard, tools, of_source, language)
        scores = _scores(clip, done, analysis, speech) | ({} if speech is None else {"av_shift_s": float(shift)})
        clip = dataclasses.replace(clip, scores=scores)
        yield clip if tools.scorer is None else dataclasses.replace(clip, scores={**scores, **tools.scorer(clip)})


def crop_span(source: FrameSource, aligned: AlignedTrack, start: int, stop: int) -> U8:
    """(stop - start, S, S, 3): the crops of source frames [start, stop), all inside the track."""
    if not aligned.track.start <= start <= stop <= aligned.track.stop:
        raise ValueError(f"frames [{start}, {stop}) are not in the track [{aligned.track.start}, {aligned.track.stop})")
    size = aligned.transform.size_px
    crops = np.empty((stop - start, size, size, 3), dtype=np.uint8)
    for frame in source.frames(start, stop):
        matrix = aligned.transform.matrices[frame.index - aligned.track.start]
        crops[frame.index - start] = crop_frame(frame.rgb, matrix, size)
    return crops


def _clip(
    piece: Piece,
    source_times: FrameTimes,
    speech: Speech,
    tools: ClipTools,
    of_source: Provenance,
    language: str | None,
) -> ClipSample:
    """The piece as a sample, not scored yet."""
    rows, aligned = piece.rows(), piece.aligned
    transform = aligned.transform.slice(rows.start, rows.stop)
    tracked = aligned.track.landmarks.slice(rows.start, rows.stop)
    points = transform.to_crop(tracked.points).astype(np.float32)
    landmarks = dataclasses.replace(tracked, points=points, space="crop")
    frames = np.stack(piece.crops)
    times = source_times.slice(piece.start, piece.stop).from_zero()
    span = span_of(source_times, piece.start, piece.stop)
    return ClipSample(
        key=piece.key(of_source.source_sha256, source_times),
        frames=frames,
        times=times,
        landmarks=landmarks,
        transform=transform,
        speech=_around(speech, source_times, piece, SPEECH_MARGIN_S),
        features=tuple(
            dataclasses.replace(feature, origin_s=feature.origin_s - SPEECH_MARGIN_S)
            for feature in tools.features_of(speech, *_stretch_s(source_times, piece, SPEECH_MARGIN_S))
        ),
        identity=f"{of_source.source_sha256[:12]}/{aligned.identity}",
        language=language,
        provenance=dataclasses.replace(of_source, span=span),
    )


def _shift_s(analysis: Analysis, speech: Speech | None, config: PreprocessConfig) -> Fraction:
    """By how much the sound is late in all of the source, surely enough to move it; else 0."""
    if speech is None or not config.sync.correct:
        return Fraction(0)
    found = source_sync([aligned.track for aligned in analysis.tracks], analysis.times, speech)
    is_sure = found.confidence >= config.sync.min_confidence and abs(found.offset_s) >= config.sync.min_offset_s
    return Fraction(found.offset_s).limit_denominator(1000) if is_sure else Fraction(0)


def _scores(clip: ClipSample, piece: Piece, analysis: Analysis, speech: Speech | None) -> dict[str, float]:
    """Without speech those about it are absent: the silence that stands in is not the footage's."""
    scores = picture_scores(
        clip.frames, clip.landmarks, clip.transform, width=analysis.width, height=analysis.height
    ) | {"faces": float(people_at_once(analysis.tracks, piece.start, piece.stop))}
    if speech is None:
        return scores
    heard = _around(speech, analysis.times, piece, MAX_OFFSET_S + SPEECH_MARGIN_S)
    return scores | sound_scores(clip.landmarks, clip.times, heard)


def _no_sound(config: PreprocessConfig) -> Speech:
    """Stands in where there is no sound track: digital silence wherever it is asked."""
    return Speech(samples=np.zeros(0, dtype=np.int16), rate_hz=config.media.audio_rate_hz, origin_s=Fraction(0))


def _around(speech: Speech, times: FrameTimes, piece: Piece, margin_s: Fraction) -> Speech:
    """The piece's sound and so much on either side, its zero at the piece's first frame."""
    cut = speech.between(*_stretch_s(times, piece, margin_s))
    return dataclasses.replace(cut, origin_s=cut.origin_s - margin_s)


def _stretch_s(times: FrameTimes, piece: Piece, margin_s: Fraction) -> tuple[Fraction, Fraction]:
    """(start, end) of the piece and so much on either side, from the source's first frame."""
    span, zero = span_of(times, piece.start, piece.stop), times.at(0).seconds
    return span.start.seconds - zero - margin_s, span.end.seconds - zero + margin_s
