"""Gated encoders, all with one interface: `(features, lengths, gates) → Encoded(hidden, lengths)`."""

from dld.encoders.base import Embedded, Encoded, GatedEncoder
from dld.encoders.config import EncoderConfig
from dld.encoders.conformer import ConformerConfig, GatedConformer
from dld.encoders.wavlm import GatedWavLM
from dld.encoders.wavlm_config import WavLMConfig
from dld.encoders.whisper import GatedWhisper, WhisperConfig

__all__ = [
    "ConformerConfig",
    "Embedded",
    "Encoded",
    "EncoderConfig",
    "GatedConformer",
    "GatedEncoder",
    "GatedWavLM",
    "GatedWhisper",
    "WavLMConfig",
    "WhisperConfig",
]
