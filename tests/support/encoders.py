"""Speech encoders a test can afford: the real architectures, a few channels wide, with random weights in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

_WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 64,
    "max_source_positions": 100,
    "max_target_positions": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def save_tiny_encoder(family: str, folder: Path, *, seed: int = 0) -> Path:
    """A folder as `save_pretrained` leaves it; another seed, other weights. Whisper's windows are 2 s."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, reader = _made(family)
    folder.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(folder)
    reader.save_pretrained(folder)
    return folder


def _made(family: str) -> tuple[Any, Any]:
    if family == "hubert":
        network = transformers.HubertModel(transformers.HubertConfig(**_WAVE))
        return network, transformers.Wav2Vec2FeatureExtractor()
    if family == "wavlm":
        network = transformers.WavLMModel(transformers.WavLMConfig(**_WAVE))
        return network, transformers.Wav2Vec2FeatureExtractor(do_normalize=False)
    network = transformers.WhisperModel(transformers.WhisperConfig(**_WHISPER))
    return network, transformers.WhisperFeatureExtractor(chunk_length=2)
