"""What is measured of a checkpoint, and on what."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "val", "test"]


class EvaluationConfig(BaseModel):
    """The knobs of an evaluation; two scorecards compare where these and the dataset are the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: tuple[Split, ...] = Field(("val", "test"), min_length=1, description="held-out clips; `train` to compare")
    limit: int | None = Field(None, ge=1, description="at most so many clips, of as many identities as fit; none: all")
    steps: int = Field(4, ge=1, description="sampling steps")
    seed: int = Field(0, ge=0)
    batch_size: int = Field(8, ge=1, description="frames rendered at once")
    max_frames: int = Field(250, ge=20, description="of a longer clip the first so many are dubbed")
    silent_frames: int = Field(25, ge=1, description="of each clip's middle, dubbed with silence")
    device: str = Field("cpu", description="cpu, cuda, cuda:1 ...")
    expert: str | None = Field(
        None, description="local folder of a sync expert; none: lips' timing is not judged by one"
    )
    shown: int = Field(12, ge=0, description="clips that the page shows pictures of")
