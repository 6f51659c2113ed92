"""Puts a checkpoint into the package: `python -m tests.support.ship CHECKPOINT` (the last step of `make sample-model`).

Half precision, with a model card whose figures are measured here and now.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from flows.voice import SHIPPED
from tests.support.sample_dub import SampleDub

TARGET = Path(__file__).parents[2] / "model" / SHIPPED
ABOUT = {
    "data": "44 generated titles: two public-domain portraits animated by our own generator, 27 sentences in six"
    " languages by espeak-ng; the sample's picture is among them, the two lines it is dubbed with are not",
    "recipe": "`make sample-model`: examples/sample-model.yaml, all four stages, one CPU core.",
    "limits": "for evaluation only: it knows these two generated faces and has seen no real person; train your own with"
    " `dubwright train`",
}


def main(checkpoint: Path) -> None:
    dub = SampleDub(checkpoint)
    correlations = {language: dub.correlation(language) for language in ("es", "en")}
    said = ", ".join(f"{language} {value:.2f}" for language, value in correlations.items())
    figures = (
        "On the sample's face, two lines it was not trained on: correlation of the mouth opening with the truth"
        f" {said}. Reconstruction in the generated region {dub.reconstruction_db():.1f} dB. Nothing is known of"
        " real faces; held-out people were not measured."
    )
    if TARGET.exists():
        shutil.rmtree(TARGET)
    digest = dub.pipe.save_pretrained(TARGET, card={**ABOUT, "figures": figures}, half=True)
    print(f"{TARGET}\n{figures}\ndigest {digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
