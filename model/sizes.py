"""How large a model is: parameters and bytes of each network, and what one call holds and computes beside them.

Nothing is allocated: the networks run on tensors that have a shape and no values, and what is alive is added up. So
`large` is measured on any machine, and `tiny` measured with values gives the same figures (tested).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from model.config import ModelConfig
from model.networks import DTYPES, Networks

BYTES = {str(dtype).removeprefix("torch."): dtype.itemsize for dtype in DTYPES.values()}
ALWAYS_FLOAT32 = ("completion",)
"""See `Networks.to`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """One model, for a batch of so many frames."""

    parameters: Mapping[str, int]
    """By network."""
    batch_size: int
    activations: Mapping[str, int]
    """Bytes at the peak of one `denoiser` call and of one `decode`, in float32; weights, references and what a kernel
    uses inside itself are not counted."""
    flops: Mapping[str, int]
    """Multiplications and additions of the same calls, for the whole batch: what no machine can do without."""

    def weight_bytes(self, dtype: str) -> dict[str, int]:
        """In memory, by network and `all`, where the model is held in that precision."""
        bytes_of = {
            name: count * (BYTES["float32"] if name in ALWAYS_FLOAT32 else BYTES[dtype])
            for name, count in self.parameters.items()
        }
        return {**bytes_of, "all": sum(bytes_of.values())}

    def told(self) -> dict[str, Any]:
        """For `dubwright inspect`: megabytes by what they are."""
        return {
            "parameters": {**self.parameters, "all": sum(self.parameters.values())},
            "weights_mb": {name: _mb(self.weight_bytes(name)) for name in BYTES},
            f"peak_mb at {self.batch_size} frames, float32": _mb(self.activations),
            "gflop_a_frame": {name: round(n / self.batch_size / 1e9, 3) for name, n in self.flops.items()},
        }


def model_size(config: ModelConfig, batch_size: int = 8) -> ModelSize:
    """The size of that model, from shapes alone."""
    with _shapes_only():
        networks = Networks(config).eval()
        return ModelSize(
            parameters=networks.sizes(),
            batch_size=batch_size,
            activations=peaks(networks, batch_size),
            flops={name: _flops(call) for name, call in inference_calls(networks, batch_size).items()},
        )


@contextmanager
def _shapes_only() -> Iterator[None]:
    with FakeTensorMode(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # A transformer layer is copied as often as the network has it, and copying asks where its values lie.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        yield


def peaks(networks: Networks, batch_size: int) -> dict[str, int]:
    """Bytes that one call of the denoiser and one of the decoder hold at once beside what they are given."""
    return {name: _peak(call) for name, call in inference_calls(networks, batch_size).items()}


@torch.no_grad()
def inference_calls(networks: Networks, batch_size: int) -> dict[str, Callable[[], Tensor]]:
    """The two calls that inference repeats, on inputs of nothing in particular."""
    config, device, b = networks.config, networks.device, batch_size
    side, channels = config.latent_px, config.autoencoder.latent_channels
    z_BCHW = torch.zeros(b, channels, side, side, device=device)
    mask_B1HW, t_B = torch.ones(b, 1, side, side, device=device), torch.zeros(b, device=device, dtype=torch.long)
    references = networks.reference(z_BCHW.new_zeros(1, config.denoiser.num_references, channels, side, side))
    if config.denoiser.landmarks == "audio":
        told = z_BCHW.new_zeros(b, config.completion.audio_columns, config.condition.audio_dim)
    else:
        told = z_BCHW.new_zeros(b, *networks.denoiser.told_shape)

    def denoise() -> Tensor:
        said: Tensor = networks.denoiser(z_BCHW, mask_B1HW, z_BCHW, t_B, told, references)
        return said

    return {"denoiser": denoise, "decode": lambda: networks.autoencoder.decode(z_BCHW)}


@torch.no_grad()
def _peak(call: Callable[[], Tensor]) -> int:
    alive = _Alive()
    with alive:
        call()
    return alive.peak


@torch.no_grad()
def _flops(call: Callable[[], Tensor]) -> int:
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION_OF_CPUS) as counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


_ATTENTION_OF_CPUS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""The one kernel of attention that the counter does not know."""


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make and that are still referred to; views share one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._users: dict[int, int] = {}
        self._known: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            # What shares the storage of something given from outside, as a view of a weight, costs nothing.
            if isinstance(made, Tensor) and (_storage(made) in self._users or _storage(made) not in given):
                self._keep(made)
        return out

    def _keep(self, made: Tensor) -> None:
        storage, size = _storage(made), made.untyped_storage().nbytes()
        if storage not in self._users:
            self.now += size
            self.peak = max(self.peak, self.now)
        self._users[storage] = self._users.get(storage, 0) + 1
        weakref.finalize(made, self._drop, storage, size)

    def _drop(self, storage: int, size: int) -> None:
        self._users[storage] -= 1
        if not self._users[storage]:
            del self._users[storage]
            self.now -= size


def _storage(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def _mb(sizes: Mapping[str, int]) -> dict[str, float]:
    return {name: round(size / 1e6, 3) for name, size in sizes.items()}
