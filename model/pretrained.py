"""A model in a folder: config.json, model.safetensors, README.md. Nothing in it is ever unpickled.

The config carries the digest of the weights it was written for, so two files of different models are found out.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.card import model_card
from model.config import ModelConfig
from model.errors import CheckpointDamaged
from model.networks import Networks
from shards.errors import RequestError
from shards.fingerprint import canonical_json
from shards.schema import SCHEMA_VERSION, check_schema_version

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What is known of a model beside its weights."""

    config: ModelConfig
    digest: str
    """sha256 over config and weights."""
    trained: Mapping[str, int]
    """Steps per stage."""
    card: Mapping[str, str]
    """For people: data, recipe, figures, limits."""


def digest(config: ModelConfig, weights: Mapping[str, Tensor]) -> str:
    """sha256 over the config and every tensor's name, shape and float32 value: the same wherever it is computed."""
    total = hashlib.sha256(canonical_json(config))
    for name in sorted(weights):
        value = weights[name].detach().float().cpu().contiguous()
        total.update(f"{name}{tuple(value.shape)}".encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def save(folder: Path, networks: Networks, *, trained: Mapping[str, int], card: Mapping[str, str], half: bool) -> str:
    """Writes the folder, each file whole or not at all; returns the digest of what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    weights = {name: value.detach().to("cpu", dtype).contiguous() for name, value in networks.state_dict().items()}
    named = digest(networks.config, weights)
    record = {
        "schema_version": SCHEMA_VERSION,
        "model": networks.config.model_dump(mode="json"),
        "digest": named,
        "trained": dict(trained),
        "card": dict(card),
    }
    _replace(folder / WEIGHTS, lambda path: save_file(weights, path))
    _replace(folder / CONFIG, lambda path: path.write_text(json.dumps(record, indent=2) + "\n"))
    text = model_card(networks, trained=trained, card=card, digest=named)
    _replace(folder / CARD, lambda path: path.write_text(text))
    return named


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    part = path.with_name(path.name + ".part")
    write(part)
    part.chmod(0o644)  # safetensors writes for the owner alone; a shipped model is for everyone
    os.replace(part, path)


def load(folder: Path) -> tuple[Networks, ModelRecord]:
    """The networks (float32, on the CPU) and their record; refuses what is no model or does not belong together."""
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise RequestError(f"no model here: {', '.join(missing)} missing", field="checkpoint", value=str(folder))
    raw = json.loads((folder / CONFIG).read_text())
    check_schema_version(raw.get("schema_version"), str(folder / CONFIG))
    try:
        config = ModelConfig.model_validate(raw["model"])
        weights = load_file(folder / WEIGHTS)
    except (ValidationError, SafetensorError, KeyError) as error:
        raise CheckpointDamaged(f"{folder}: not a readable model: {error}") from error
    if (found := digest(config, weights)) != raw["digest"]:
        raise CheckpointDamaged(
            f"{folder}: {WEIGHTS} is {found[:12]}, but {CONFIG} was written for {raw['digest'][:12]}"
        )
    networks = Networks(config)
    networks.load_state_dict({name: value.float() for name, value in weights.items()})
    record = ModelRecord(config=config, digest=found, trained=raw["trained"], card=raw["card"])
    return networks.eval().requires_grad_(False), record
