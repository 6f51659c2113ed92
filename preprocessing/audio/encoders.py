"""HuBERT, WavLM and Whisper's encoder as audio features: the last layer's columns, through transformers.

Weights come from a folder, or from the hub's cache under the hub's own rules (`HF_HUB_OFFLINE`); only safetensors are
read, nothing is ever unpickled. How windows are laid: `windowed.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from preprocessing.audio.windowed import RATE_HZ, WindowedFeature
from preprocessing.errors import ToolMissing
from shards.errors import RequestError
from shards.fingerprint import file_sha256
from shards.schema import F32

_DIGEST_LENGTH = 8
_UNUSED_IN_INFERENCE = {"masked_spec_embed"}
"""What a checkpoint may lack: it stands for masked sound in pretraining."""


class SpeechEncoder(WindowedFeature):
    """What the families share: finding and checking the weights."""

    model_class: str
    """In transformers."""
    reader_class: str
    """In transformers: samples -> what the network takes, as its `preprocessor_config.json` says."""

    def __init__(self, place: str, digest: str | None = None) -> None:
        super().__init__()
        self._place, self._digest = place, digest
        self._network: Any = None
        self.reach = 200
        """Samples that a column sees of the sound on each side."""

    @property
    def name(self) -> str:
        return f"{self.family}-{self._digest}" if self._digest else self.family

    def setup(self) -> None:
        import torch
        import transformers

        # Progress is the command's to show, and it does not come from here.
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        folder = find_weights(self._place, self.family)
        self._digest = _checked_digest(folder, self._digest, self.family)
        kind = getattr(transformers, self.model_class)
        network, report = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        if missing := set(report["missing_keys"]) - _UNUSED_IN_INFERENCE:
            names = ", ".join(sorted(missing)[:3])
            raise ToolMissing(
                f"the weights lack {len(missing)} tensors: {names}", where=str(folder), field="audio.features"
            )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = self._encoder(network).eval().requires_grad_(False).to(self._device)
        self._reader = self._make_reader(getattr(transformers, self.reader_class), folder)
        self._measure(network.config)
        self._learn_silence()

    def close(self) -> None:
        super().close()
        self._network = None

    def _encode(self, sound: F32) -> F32:
        import torch

        given = self._reader(sound, sampling_rate=RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            out = self._network(given[self._reader.model_input_names[0]].to(self._device))
        columns: F32 = out.last_hidden_state[0].float().cpu().numpy()
        return columns

    def _samples(self, first: int, count: int) -> tuple[int, int]:
        # A column is centred on its place.
        return first * self.hop - self.reach, (count - 1) * self.hop + 2 * self.reach

    def _heard(self, first: int, last: int, count: int) -> tuple[int, int]:
        # Any length will do: none beyond the recording.
        return max(first - self.context, 0), min(last + self.context, count)

    def _encoder(self, network: Any) -> Any:
        return network

    def _make_reader(self, kind: Any, folder: Path) -> Any:
        return kind.from_pretrained(folder, local_files_only=True)

    def _measure(self, config: Any) -> None:
        """Hop and reach follow from the strides and kernels of the convolutions in front."""
        self.hop = math.prod(config.conv_stride)
        width, step = 1, 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            width, step = width + (kernel - 1) * step, step * stride
        self.reach = width // 2


class Hubert(SpeechEncoder):
    """The audio feature `hubert`."""

    family, model_class, reader_class = "hubert", "HubertModel", "Wav2Vec2FeatureExtractor"


class WavLM(SpeechEncoder):
    """The audio feature `wavlm`."""

    family, model_class, reader_class = "wavlm", "WavLMModel", "Wav2Vec2FeatureExtractor"


class Whisper(SpeechEncoder):
    """The audio feature `whisper`: the encoder alone. It takes windows of one length, 30 s as published."""

    family, model_class, reader_class = "whisper", "WhisperModel", "WhisperFeatureExtractor"

    def _encoder(self, network: Any) -> Any:
        return network.get_encoder()

    def _measure(self, config: Any) -> None:
        # Two spectrum columns of 10 ms make one of the encoder, which is centred on the first of them.
        self.hop = 2 * self._reader.hop_length
        self.reach = 0
        self.context = config.max_source_positions // 12
        self.core = config.max_source_positions - 2 * self.context

    def _samples(self, first: int, count: int) -> tuple[int, int]:
        return first * self.hop, count * self.hop


def find_weights(place: str, family: str) -> Path:
    """The folder with a family's weights: that folder, or the hub's snapshot of that name."""
    folder = Path(place).expanduser()
    if not folder.is_dir():
        folder = _snapshot(place, family)
    wanted = ("config.json", "preprocessor_config.json")
    if absent := [name for name in wanted if not (folder / name).is_file()]:
        raise ToolMissing(f"no {' and no '.join(absent)} in the folder", where=str(folder), field="audio.features")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        advice = "; it has pickled weights, which are never read: convert them to safetensors once" if pickled else ""
        raise ToolMissing(f"no *.safetensors in the folder{advice}", where=str(folder), field="audio.features")
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != family:
        raise RequestError(f"these are weights of a {kind}", where=str(folder), field="audio.features", value=family)
    return folder


def _snapshot(place: str, family: str) -> Path:
    """What the hub's cache holds under that name, or, where the environment allows it, the hub itself."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(place, allow_patterns=["*.json", "*.safetensors"]))
    except (HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ToolMissing(
            f"no such folder, and the hub does not give it: put config.json, preprocessor_config.json and "
            f"*.safetensors of a {family} there, or allow the hub with HF_HUB_OFFLINE=0 ({type(error).__name__})",
            field="audio.features",
            value=place,
        ) from error


def _checked_digest(folder: Path, wanted: str | None, family: str) -> str:
    """The digest of all that decides the columns; refuses other weights than those asked for."""
    names = ["config.json", "preprocessor_config.json", *sorted(p.name for p in folder.glob("*.safetensors"))]
    whole = hashlib.sha256("".join(file_sha256(folder / name) for name in names).encode())
    found = whole.hexdigest()[:_DIGEST_LENGTH]
    if wanted is not None and wanted != found:
        raise RequestError(
            f"the weights there are {family}-{found}, another model's",
            where=str(folder),
            field="audio.features",
            value=f"{family}-{wanted}",
        )
    return found
