"""Every knob of a dubbing run that is not a column of the catalogue."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.adapting import AdaptConfig
from flows.cluster.config import EngineConfig
from flows.dubbing.flags import FlagConfig
from preprocessing.media.encode import EncodeConfig


class SigningConfig(BaseModel):
    """Whose name C2PA manifests carry. Without a key, one for development is made on first use, and reports say so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificates: Path | None = Field(None, description="PEM, the signer's certificate first, then its chain")
    private_key: Path | None = Field(None, description="PEM of the signer's key")

    @model_validator(mode="after")
    def _has_both_or_none(self) -> SigningConfig:
        if (self.certificates is None) != (self.private_key is None):
            raise ValueError("a certificate chain and its private key belong together; give both or none")
        return self


class DubConfig(BaseModel):
    """How a catalogue is dubbed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineConfig = EngineConfig()
    encode: EncodeConfig = EncodeConfig()
    adapt: AdaptConfig = AdaptConfig()
    flags: FlagConfig = FlagConfig()
    signing: SigningConfig = SigningConfig()
    require_consent: bool = Field(False, description="refuse rows without `consent_ref`, or past their `rights_end`")
    max_gpu_hours: float | None = Field(
        None, gt=0, description="hours of renderers after which no more is begun; the same command goes on"
    )
    batch: int = Field(4, ge=1, le=64, description="stretches a renderer is given at once")
