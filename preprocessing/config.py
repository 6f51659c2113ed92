"""Every knob of the media room, with its unit. Frozen, and a misspelt one is refused.

Measurements and thresholds are apart: `measured()` is what a clip's bytes depend on, `quality` may move without
measuring again.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MediaConfig(_Config):
    """How footage is read for training. (Dubbing reads the source as it is.)"""

    fps: int = Field(25, ge=1, le=120, description="frames per second clips are normalised to")
    audio_rate_hz: int = Field(16_000, ge=8_000, description="sample rate of the model's copy of the speech")
    max_side_px: int = Field(1280, ge=64, description="larger pictures are scaled down to this before analysis")
    deadline_s: float = Field(600.0, gt=0, description="a media program that runs longer is killed")
    stall_s: float = Field(60.0, gt=0, description="a media program that gives nothing for so long is killed")


class FaceConfig(_Config):
    """Finding and following faces."""

    backend: str = Field("mediapipe", description="landmark backend; see preprocessing/landmarks/base.py")
    detector: str | None = Field(None, description="one of face-alignment's detectors; none: the backend's own")
    max_faces: int = Field(1, ge=1, le=16, description="faces followed at once")
    min_height_px: float = Field(40.0, ge=0, description="smaller faces are left alone")
    max_gap_frames: int = Field(5, ge=0, description="a face lost for longer ends its track; shorter gaps are filled")
    cut_threshold: float = Field(27.0, gt=0, description="content change that counts as a cut")


class CropConfig(_Config):
    """The face crop."""

    size_px: int = Field(128, ge=16, le=1024, multiple_of=8)
    window: str = Field("lower_face", description="which part of the face; see shards/crop.py")
    smooth_s: float = Field(0.2, ge=0, description="sigma of the crop's zero-phase smoothing, seconds")


class AudioConfig(_Config):
    features: tuple[str, ...] = Field(
        ("mel", "phones", "ear"),
        min_length=1,
        description="audio features stored with each clip; `compact` hears these",
    )


class ClipConfig(_Config):
    """Cutting tracks into samples."""

    max_frames: int = Field(125, ge=5, description="longer tracks are cut into pieces of at most this")
    min_frames: int = Field(25, ge=1, description="shorter pieces are rejected")
    jpeg_quality: int = Field(95, ge=1, le=100, description="of the stored crops")


class SyncConfig(_Config):
    """Sound that is off in all of a source is moved before clips are cut; see preprocessing/quality/sync.py."""

    correct: bool = Field(True, description="move it; off: only measure it")
    min_offset_s: float = Field(0.1, ge=0, description="sound off by less is left: the measure errs by a frame or so")
    min_confidence: float = Field(0.3, ge=0, description="an offset of the source found with less is not believed")
    expert: str | None = Field(None, description="folder of a sync expert that also scores clips, on every machine")
    expert_digest: str | None = Field(None, description="of its files; other weights are refused. Empty: those there")


class QualityConfig(_Config):
    """Thresholds on stored scores: moving one filters again, and measures nothing again.

    The defaults were chosen by looking at what lies on either side of them in GRID, broadcast news and mixed footage.
    """

    min_face_px: float = Field(40.0, ge=0, description="height of the face in the source")
    min_sharpness: float = Field(0.8, ge=0, description="fine detail by contrast, in 1,000 parts of white noise's")
    min_seen: float = Field(0.9, ge=0, le=1, description="share of frames in which the face was really seen")
    min_confidence: float = Field(0.5, ge=0, le=1, description="of the landmarks, in the worst frames")
    max_yaw_deg: float = Field(40.0, ge=0, le=90, description="the head's turn to the side, in the worst frames")
    max_pitch_deg: float = Field(30.0, ge=0, le=90, description="the head's turn up or down, in the worst frames")
    min_mouth_visible: float = Field(0.25, ge=0, le=1, description="the mouth's narrower half over its wider half")
    min_mouth_inside: float = Field(0.9, ge=0, le=1, description="share of lips and jaw inside the picture")
    min_uncovered: float = Field(0.3, ge=-1, le=1, description="likeness of the least usual mouth to the usual one")
    min_lip_edges: float = Field(1.3, ge=0, description="edges within the lips over those in the skin around them")
    max_faces: float = Field(4, ge=1, description="people followed at once")
    max_silence: float = Field(0.9, ge=0, le=1, description="share of the clip without voice")
    min_loudness_lufs: float = Field(-50.0, description="integrated loudness of the clip")
    min_speaking: float = Field(0.4, ge=0, le=1, description="share of the voiced frames in which the mouth moves")
    max_av_offset_s: float = Field(0.1, ge=0, description="sound against lips, once the source's offset is taken out")
    min_av_confidence: float = Field(0.3, ge=0, description="an offset of a clip found with less is not judged")
    max_sync_offset_s: float = Field(0.1, ge=0, description="the same by the sync expert, where one scored the clips")
    min_sync_confidence: float = Field(
        0.1, ge=0, le=2, description="an offset that the sync expert found with less is not judged"
    )
    max_twin_bits: int = Field(24, ge=-1, le=192, description="of the hash, that tell copies apart; -1 keeps copies")


class PreprocessConfig(_Config):
    """Footage to clips."""

    media: MediaConfig = MediaConfig()
    faces: FaceConfig = FaceConfig()
    crop: CropConfig = CropConfig()
    audio: AudioConfig = AudioConfig()
    clip: ClipConfig = ClipConfig()
    sync: SyncConfig = SyncConfig()
    quality: QualityConfig = QualityConfig()
    on_missing_speech: Literal["reject", "keep"] = Field("reject", description="footage without a sound track")

    def measured(self) -> dict[str, object]:
        """The part a clip's bytes depend on; hashed into unit ids. An expert is its weights, wherever they lie."""
        return self.model_dump(exclude={"quality": True, "sync": {"expert"}})
