"""pocketsphinx's acoustic model: how likely each phone's states made a sound. Reads the files inside the wheel.

The library's Python door gives the best path alone: its segments' `prob` is 1, the phone search has no lattice. The
scores behind it are what carries doubt, so the mixtures are evaluated here, all Gaussians of them (the library keeps
the best four and rounds to 0.1 nats). Decoding is left to the library; we do not need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing.errors import ToolMissing
from shards.schema import F32, F64

# fmt: off
PHONES = (
    "+NSN+", "+SPN+", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH",
    "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "SIL", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
)
# fmt: on
"""The model's phones in its own order: noise, spoken noise, English in ARPAbet, silence."""
NUM_STREAMS, NUM_STATES = 3, 3
_VARIANCE_FLOOR = 1e-4
_LOG_UNIT = 1024 * np.log(1.0001)
"""Mixture weights are stored as whole multiples of this, in nats."""
_BLOCK = 256
"""Columns scored at once: about 20 MB of work space."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhoneModel:
    """Phonetically tied mixtures: every phone has its own Gaussians, which its three states weigh differently."""

    linear: tuple[F64, ...]
    """Per stream (2 D, phones * densities): what [x, x^2] is multiplied with."""
    constant: tuple[F64, ...]
    """Per stream (phones * densities,)."""
    weights: tuple[F32, ...]
    """Per stream (phones, densities, states)."""

    def log_likelihood(self, streams: tuple[F64, ...]) -> F32:
        """Per stream (N, D) -> (N, phones, states), in nats."""
        count = len(streams[0])
        out = np.empty((count, len(PHONES), NUM_STATES), dtype=np.float32)
        for first in range(0, count, _BLOCK):
            rows = slice(first, first + _BLOCK)
            out[rows] = sum(self._of_stream(k, x[rows]) for k, x in enumerate(streams))
        return out

    def _of_stream(self, k: int, x: F64) -> F32:
        gaussian = np.hstack([x, x**2]) @ self.linear[k] + self.constant[k]
        log_density = gaussian.astype(np.float32).reshape(len(x), len(PHONES), -1)
        best = log_density.max(axis=2, keepdims=True)
        density = np.exp(log_density - best)
        mixed = np.matmul(density.transpose(1, 0, 2), self.weights[k]).transpose(1, 0, 2)
        out: F32 = np.log(np.maximum(mixed, 1e-30)) + best
        return out


def load_phone_model() -> PhoneModel:
    """The English model of the installed pocketsphinx."""
    try:
        import pocketsphinx
    except ImportError as error:
        raise ToolMissing("phones need pocketsphinx; install it with pip", field="audio.features") from error
    return read_phone_model(Path(pocketsphinx.get_model_path("en-us/en-us")))


def read_phone_model(folder: Path) -> PhoneModel:
    """The model in a Sphinx model folder; refuses one with other phones or another layout."""
    try:
        names, num_senones = _read_names((folder / "mdef").read_bytes())
        means = _read_gaussians((folder / "means").read_bytes())
        variances = np.maximum(_read_gaussians((folder / "variances").read_bytes()), _VARIANCE_FLOOR)
        weights = _read_weights((folder / "sendump").read_bytes(), num_senones, means.shape[2])
    except (OSError, ValueError) as error:
        raise ToolMissing(f"no phone model we can read: {error}", field="audio.features", value=str(folder)) from error
    if names != PHONES or len(means) != len(PHONES) or means.shape != variances.shape:
        raise ToolMissing("a phone model of other phones than ours", field="audio.features", value=str(folder))
    constant = -0.5 * (means**2 / variances + np.log(2 * np.pi * variances)).sum(axis=3)
    linear = np.concatenate([means / variances, -0.5 / variances], axis=3)
    each = range(NUM_STREAMS)
    return PhoneModel(
        linear=tuple(np.ascontiguousarray(linear[:, k].reshape(-1, linear.shape[3]).T) for k in each),
        constant=tuple(constant[:, k].reshape(-1) for k in each),
        weights=tuple(np.ascontiguousarray(weights[k]) for k in each),
    )


def _read_names(data: bytes) -> tuple[tuple[str, ...], int]:
    """The phones without context and the number of senones, from a binary model definition."""
    _need(data[:4] == b"BMDF", "mdef is not binary")
    at = 12 + int.from_bytes(data[8:12], "little")
    num_phones, _, _, _, num_senones = np.frombuffer(data, "<i4", 5, at)
    names = data[at + 40 :].split(b"\0", int(num_phones))[: int(num_phones)]
    return tuple(name.decode() for name in names), int(num_senones)


def _read_gaussians(data: bytes) -> F64:
    """(phones, streams, densities, D) of a `means` or `variances` file."""
    at = data.index(b"endhdr\n") + len(b"endhdr\n")
    order, phones, streams, densities, *dims = np.frombuffer(data, "<u4", 7, at)
    _need(order == 0x11223344, "another byte order")
    _need(streams == NUM_STREAMS and len(set(dims)) == 1, "other feature streams")
    count = int(np.frombuffer(data, "<u4", 1, at + 28)[0])
    values = np.frombuffer(data, "<f4", count, at + 32)
    return values.reshape(phones, streams, densities, dims[0]).astype(np.float64)


def _read_weights(data: bytes, num_senones: int, densities: int) -> F32:
    """(streams, phones, densities, states): the mixture weights of the states without context, the first senones."""
    at = 0
    while (length := int.from_bytes(data[at : at + 4], "little")) != 0:
        at += 4 + length
        _need(at < len(data), "sendump has no end of its header")
    rows, columns = np.frombuffer(data, "<i4", 2, at + 4)
    _need((rows, columns) == (densities, num_senones), "sendump is of another model")
    stored = np.frombuffer(data, np.uint8, NUM_STREAMS * rows * columns, at + 12)
    used = stored.reshape(NUM_STREAMS, rows, columns)[:, :, : len(PHONES) * NUM_STATES]
    weights = np.exp(-_LOG_UNIT * used.astype(np.float64)).reshape(NUM_STREAMS, rows, len(PHONES), NUM_STATES)
    out: F32 = weights.transpose(0, 2, 1, 3).astype(np.float32)
    return out


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
