"""Every knob of the work engine, with its unit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EngineConfig(BaseModel):
    """How a pool works through its items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_workers: int | None = Field(
        None, ge=1, description="workers at once; none: as many as the machine has room for"
    )
    in_flight_per_worker: int = Field(
        1, ge=1, le=64, description="batches with a worker at once; 2 hides the hand-over where items are short"
    )
    deadline_s: float = Field(
        900.0,
        gt=0,
        description="seconds an item may take before its worker is ended; a batch of n, 1 + log2(n) times that",
    )
    setup_deadline_s: float = Field(300.0, gt=0, description="seconds a worker may take to load what it needs")
    max_attempts: int = Field(3, ge=1, description="charged failures after which an item is given up")
    max_transient: int = Field(8, ge=0, description="uncharged failures after which an item is given up all the same")
    backoff_s: float = Field(1.0, ge=0, description="seconds before the first retry; doubles with each, up to 60")
    grace_s: float = Field(10.0, ge=0, description="seconds that begun items are given when the run is asked to stop")
