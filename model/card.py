"""The model card: what a checkpoint is, from what, how good and what not to use it for."""

from __future__ import annotations

from collections.abc import Mapping

from model.networks import Networks

FIELDS = {
    "data": "What it was trained on",
    "recipe": "How it was trained",
    "figures": "How good it is",
    "limits": "What it is not for",
}
UNSAID = "Not recorded."


def model_card(networks: Networks, *, trained: Mapping[str, int], card: Mapping[str, str], digest: str) -> str:
    """README.md of a checkpoint: the four fields, more if given, and the facts."""
    config = networks.config
    condition = config.condition
    sections = {title: card.get(name, UNSAID) for name, title in FIELDS.items()}
    sections |= {name: text for name, text in card.items() if name not in FIELDS}
    facts = {
        "preset": config.name,
        "crop": f"{condition.crop_px} px, window `{condition.window}`",
        "landmarks": condition.topology,
        "audio features": ", ".join(condition.features),
        "parameters": ", ".join(f"{name} {count:,}" for name, count in networks.sizes().items()),
        "steps": ", ".join(f"{name} {steps:,}" for name, steps in trained.items()) or "none",
        "digest": f"`{digest}`",
    }
    lines = [f"# Dubwright `{config.name}`", "", "Makes the lips of a face crop follow new speech.", ""]
    lines += [f"- **{name}**: {value}" for name, value in facts.items()]
    for title, text in sections.items():
        lines += ["", f"## {title}", "", text]
    return "\n".join(lines) + "\n"


def one_line(name: str, crop_px: int, *, trained: Mapping[str, int], card: Mapping[str, str], digest: str) -> str:
    """The same for a report: which model this is, from what, with what limits."""
    steps = f"{sum(trained.values()):,} steps" if trained else "untrained"
    said = [card[field] for field in ("data", "limits") if card.get(field)]
    text = "; ".join([f"{name} ({crop_px} px), {steps}", *said, f"digest {digest[:12]}"])
    return " ".join(text.split())
