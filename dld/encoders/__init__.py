"""Gated encoders. All share one interface: `(features, lengths, gates) -> hidden, lengths`."""

from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.conformer import GatedConformer
from dld.encoders.wavlm import GatedWavLM
from dld.encoders.whisper import GatedWhisper

__all__ = ["Embedded", "GatedConformer", "GatedEncoder", "GatedWavLM", "GatedWhisper"]
