"""From logits to words, at every depth in one pass over the data."""

from dld.decoding.greedy import greedy

__all__ = ["greedy"]
