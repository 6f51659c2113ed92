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
    features: tuple[str, ...] = Field(("mel",), min_length=1, description="audio features stored with each clip")


class ClipConfig(_Config):
    """Cutting tracks into samples."""

    max_frames: int = Field(125, ge=5, description="longer tracks are cut into pieces of at most this")
    min_frames: int = Field(25, ge=1, description="shorter pieces are rejected")
    jpeg_quality: int = Field(95, ge=1, le=100, description="of the stored crops")


class QualityConfig(_Config):
    """Thresholds on stored scores: moving one filters again, and measures nothing again."""

    min_face_px: float = Field(40.0, ge=0, description="height of the face in the source")
    min_sharpness: float = Field(5.0, ge=0, description="variance of the crop's Laplacian")
    min_seen: float = Field(0.9, ge=0, le=1, description="share of frames in which the face was really seen")
    max_silence: float = Field(0.9, ge=0, le=1, description="share of the clip without voice")


class PreprocessConfig(_Config):
    """Footage to clips."""

    media: MediaConfig = MediaConfig()
    faces: FaceConfig = FaceConfig()
    crop: CropConfig = CropConfig()
    audio: AudioConfig = AudioConfig()
    clip: ClipConfig = ClipConfig()
    quality: QualityConfig = QualityConfig()
    on_missing_speech: Literal["reject", "keep"] = Field("reject", description="footage without a sound track")

    def measured(self) -> dict[str, object]:
        """The part a clip's bytes depend on; hashed into unit ids."""
        return self.model_dump(exclude={"quality"})
