"""Makes the ear's weights: `python -m tests.support.ear_weights SMART_TURN.onnx STORE` (needs `pip install onnx`).

SMART_TURN.onnx is `smart-turn-v3.2-cpu.onnx`, as the wheel of pipecat-ai 1.14.0 brings it; STORE holds a published
dataset, whose training clips say in which directions the second layer varies. Weights of 8 bits stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from preprocessing.audio.base import stretch
from preprocessing.audio.ear import WEIGHTS
from preprocessing.audio.ear_network import MEL_HOP, MEL_WINDOW, SCALE, WIDTH, EarNetwork, log_mel, unpacked
from shards.fingerprint import file_sha256
from shards.reader import open_dataset
from shards.schema import F64
from shards.store import open_store

LAYERS, DIM = 2, 96
TARGET = Path(__file__).parents[2] / "preprocessing" / "audio" / WEIGHTS
_COLUMNS = 400
_THEIRS = "inner.encoder."
_OF_LAYER = ("key", "query", "value", "attended", "widen", "narrow")
"""In the order of a layer's products."""
_BIAS = {"query": "self_attn.q_proj", "value": "self_attn.v_proj", "attended": "self_attn.out_proj"} | {
    "widen": "fc1",
    "narrow": "fc2",
    "before_attention": "self_attn_layer_norm",
    "before_feedforward": "final_layer_norm",
}


def packed(graph: Any) -> dict[str, Tensor]:
    """Our names -> the encoder's tensors, 8 bits with scales where it has them."""
    import onnx.numpy_helper

    given = {i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer}
    unquantised = {node.output[0]: node.input[:2] for node in graph.node if node.op_type == "DequantizeLinear"}
    out: dict[str, Tensor] = {}

    def quantised(name: str, source: str, *, turned: bool) -> None:
        weight, scale = (given[part] for part in unquantised[source])
        out[name], out[name + SCALE] = (weight.T if turned else weight).contiguous(), scale

    factors = [node.input[1] for node in graph.node if node.op_type == "MatMul"]
    products = [name for name in factors if unquantised.get(name, [""])[0] in given]
    for name, theirs in (("first", "conv1"), ("second", "conv2")):
        quantised(f"{name}.weight", f"{_THEIRS}{theirs}.weight_DequantizeLinear_Output", turned=False)
        bias, scale = (given[part] for part in unquantised[f"{_THEIRS}{theirs}.bias"])
        out[f"{name}.bias"] = bias.float() * scale
    for layer in range(LAYERS):
        of_layer = products[layer * len(_OF_LAYER) :]
        for name, source in zip(_OF_LAYER, of_layer, strict=False):
            quantised(f"layers.{layer}.{name}.weight", source, turned=True)
        for name, theirs in _BIAS.items():
            for part in ("weight", "bias"):
                if (found := f"{_THEIRS}layers.{layer}.{theirs}.{part}") in given:
                    out[f"layers.{layer}.{name}.{part}"] = given[found]
    return out


def directions(network: EarNetwork, store: str) -> tuple[Tensor, Tensor]:
    """The (DIM, D) directions of most variance of what the layers say of the training clips, and their bias.

    One scale for all: on average a channel's variance is 1, and what varies little stays small.
    """
    count, total, products = 0, np.zeros(WIDTH), np.zeros((WIDTH, WIDTH))
    for columns in _heard(network, store):
        count, total, products = count + len(columns), total + columns.sum(axis=0), products + columns.T @ columns
    mean = total / count
    variance, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    strongest = vectors[:, ::-1][:, :DIM] / np.sqrt(variance[::-1][:DIM].mean())
    # An eigenvector's sign is arbitrary: its largest entry is positive, so that the file is the same on any machine.
    strongest *= np.sign(strongest[np.abs(strongest).argmax(axis=0), np.arange(DIM)])
    return torch.from_numpy(strongest.T.copy()).float(), torch.from_numpy(-mean @ strongest).float()


def _heard(network: EarNetwork, store: str) -> Iterator[F64]:
    """The columns of each training clip, heard in the middle of a window."""
    dataset = open_dataset(open_store(store, create=False))
    with torch.inference_mode():
        for key in dataset.keys("train"):
            samples = dataset.read(key).speech.samples
            columns = min(len(samples) // (2 * MEL_HOP), _COLUMNS)
            before = (_COLUMNS - columns) // 2
            start = -before * 2 * MEL_HOP - MEL_WINDOW // 2
            sound = stretch(samples, start, start + (2 * _COLUMNS - 1) * MEL_HOP + MEL_WINDOW) / np.float32(32768)
            hidden = network.hidden(torch.from_numpy(log_mel(sound, 2 * _COLUMNS)))
            yield hidden[before : before + columns].double().numpy()


def main(source: Path, store: str) -> None:
    import onnx

    tensors = packed(onnx.load(source).graph)
    network = EarNetwork(LAYERS, DIM).eval()
    network.load_state_dict(unpacked(tensors), strict=False)
    tensors["directions.weight"], tensors["directions.bias"] = directions(network, store)
    network.load_state_dict(unpacked(tensors))
    save_file(tensors, TARGET, metadata={"source": source.name, "sha256": file_sha256(source), "layers": str(LAYERS)})
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
