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
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.card import model_card
from model.config import ModelConfig
from model.errors import CheckpointDamaged, CheckpointMismatch, NonFiniteWeights
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


def digest(config: ModelConfig | Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """sha256 over the config as it is written and every tensor's name, shape and float32 value.

    As written, not as read back: a knob that a later version adds does not give older models another name.
    """
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
    if broken := [name for name, value in weights.items() if not value.isfinite().all()]:
        raise NonFiniteWeights(broken, half=half)
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
    raw = _read_config(folder)
    try:
        config = ModelConfig.model_validate(raw["model"])
        written, trained, card = str(raw["digest"]), dict(raw["trained"]), dict(raw["card"])
        weights = load_file(folder / WEIGHTS)
    except (ValidationError, SafetensorError, KeyError, TypeError) as error:
        raise CheckpointDamaged(f"{folder}: not a readable model: {error}") from error
    if (found := digest(raw["model"], weights)) != written:
        raise CheckpointDamaged(f"{folder}: {WEIGHTS} is {found[:12]}, but {CONFIG} was written for {written[:12]}")
    networks = Networks(config)
    _fill(networks, weights, folder)
    return networks.eval().requires_grad_(False), ModelRecord(config=config, digest=found, trained=trained, card=card)


def _read_config(folder: Path) -> Mapping[str, Any]:
    try:
        raw = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise CheckpointDamaged(f"{folder / CONFIG}: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointDamaged(f"{folder / CONFIG}: not a record of a model")
    check_schema_version(raw.get("schema_version"), str(folder / CONFIG))
    return raw


def _fill(networks: Networks, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Copies the weights in; whole models of networks built otherwise are refused, naming what differs."""
    have = {name: tuple(value.shape) for name, value in weights.items()}
    need = {name: tuple(value.shape) for name, value in networks.state_dict().items()}
    if differs := sorted(name for name in have.keys() | need.keys() if have.get(name) != need.get(name)):
        shown = ", ".join(f"{name} {have.get(name, 'absent')} for {need.get(name, 'none')}" for name in differs[:5])
        raise CheckpointMismatch(
            f"another version of the networks wrote these weights: {len(differs)} tensors differ ({shown})",
            field="checkpoint",
            value=str(folder),
        )
    networks.load_state_dict({name: value.float() for name, value in weights.items()})
