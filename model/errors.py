"""What can go wrong with the model.

DubwrightError
|-- RequestError
|   `-- CheckpointMismatch     the checkpoint was made for other data than it is given: names both
|-- CheckpointDamaged          files of a checkpoint that do not belong together, or are cut short
|-- NonFinite                  a loss that is no number: names the stage, the step and the parts
|-- NonFinitePicture           a generated frame that is none: names the shot, the frame and the step
`-- NonFiniteWeights           weights that are no numbers are not saved: names the tensors
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class NonFinitePicture(DubwrightError):
    """A frame came out as NaN or infinite; nothing of the call is returned."""

    def __init__(self, *, shot: str, frame: int, step: int, steps: int, dtype: str) -> None:
        self.shot, self.frame, self.step = shot, frame, step
        where = f"at step {step} of {steps}" if step <= steps else "in the decoder"
        advice = "" if dtype == "float32" else f"; {dtype} may not hold its values: try bfloat16 or float32"
        super().__init__(f"{shot}, frame {frame}: the picture is not finite {where}{advice}")


class NonFiniteWeights(DubwrightError):
    """A model that holds NaN or infinite weights is not written."""

    def __init__(self, names: Sequence[str], *, half: bool) -> None:
        self.names = tuple(names)
        advice = "; they may not fit into half precision: save whole" if half else ""
        super().__init__(f"{len(names)} tensors are not finite, among them {', '.join(names[:3])}{advice}")
