"""n-gram language models from text: interpolated modified Kneser–Ney, written as ARPA."""

from dld.decoding.ngram.arpa import arpa_counts, arpa_words, is_binary_model
from dld.decoding.ngram.counting import BEGIN, END, UNKNOWN
from dld.decoding.ngram.estimators import TOOLS, write_arpa
from dld.decoding.ngram.smoothing import Estimate, estimate
from dld.decoding.ngram.text import open_text, read_sentences

__all__ = [
    "BEGIN",
    "END",
    "TOOLS",
    "UNKNOWN",
    "Estimate",
    "arpa_counts",
    "arpa_words",
    "estimate",
    "is_binary_model",
    "open_text",
    "read_sentences",
    "write_arpa",
]
