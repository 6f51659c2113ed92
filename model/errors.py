"""What can go wrong with the model.

DubwrightError
|-- RequestError
|   `-- CheckpointMismatch     the checkpoint was made for other data than it is given: names both
|-- CheckpointDamaged          files of a checkpoint that do not belong together, or are cut short
`-- NonFinite                  a loss that is no number: names the stage, the step and the parts
"""

from __future__ import annotations

from collections.abc import Mapping

from shards.errors import DubwrightError, RequestError


class CheckpointMismatch(RequestError):
    """Two things that must agree do not; the message carries both values."""

    @classmethod
    def between(cls, field: str, *, checkpoint: object, given: object) -> CheckpointMismatch:
        return cls(f"the checkpoint was made for {checkpoint!r}", field=field, value=given)


class CheckpointDamaged(DubwrightError):
    """The weights are not those that their record names."""


class NonFinite(DubwrightError):
    """Training stopped because a loss is NaN or infinite; nothing of that step was kept."""

    def __init__(self, *, stage: str, step: int, parts: Mapping[str, float]) -> None:
        self.stage, self.step, self.parts = stage, step, dict(parts)
        shown = ", ".join(f"{name}={value:g}" for name, value in parts.items())
        super().__init__(f"stage {stage}, step {step}: the loss is not a number ({shown})")
