"""Gated encoders. All share one interface: `(features, lengths, gates) -> hidden, lengths`."""

from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.conformer import GatedConformer

__all__ = ["Embedded", "GatedConformer", "GatedEncoder"]
