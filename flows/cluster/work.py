"""What a worker is, and what it needs. Who runs it, and where, is the engine's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from shards.errors import RequestError

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item_contra = TypeVar("_Item_contra", contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)


class Worker(Protocol[_Item_contra, _Result_co]):
    """Does one kind of work, one item at a time. Weights and devices are taken in `setup`, never at import."""

    def setup(self) -> None: ...

    def process(self, item: _Item_contra) -> _Result_co: ...

    def close(self) -> None: ...


@runtime_checkable
class BatchWorker(Protocol[_Item_contra, _Result_co]):
    """A worker to which several items at once cost less than one after the other.

    It is given several only where its spec says `batch`; an item that is alone goes through `process`.
    """

    def process_batch(self, items: Sequence[_Item_contra]) -> Sequence[_Result_co | Exception]:
        """One answer an item, in their order. An exception among the answers fails its own item and no other; one that
        is raised fails them all, and they are tried again in halves until the one at fault is alone."""
        ...


@runtime_checkable
class Shrinkable(Protocol):
    """A worker that can do the same item in smaller bites."""

    def shrink(self) -> bool:
        """Halve the batch; False when it is already as small as it gets."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec(Generic[Item, Result]):
    """How to make a worker, and the share of a node one of them takes."""

    name: str
    """For logs and process lists."""
    factory: Callable[[], Worker[Item, Result]]
    """Picklable: a module-level class, or a `functools.partial` of one. Called in the worker's own process."""
    cpus: float = 1.0
    gpus: float = 0.0
    """A fraction shares one device among several workers."""
    memory_bytes: int | None = None
    """Host memory to set aside; None leaves it to the operating system."""
    batch: int = 1
    """Items a worker may be given at once; with more than one it must be a `BatchWorker`."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise RequestError("a batch holds at least one item", where=self.name, field="batch", value=self.batch)
        for field in ("cpus", "gpus"):
            value = getattr(self, field)
            if value < 0:
                raise RequestError("a worker's share cannot be negative", where=self.name, field=field, value=value)
        if self.cpus == 0 and self.gpus == 0:
            raise RequestError("a worker needs a share of a CPU or of a GPU", where=self.name, field="cpus", value=0)
