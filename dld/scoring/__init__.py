"""Scoring: alignments, Kaldi score files, bootstrap intervals, result tables."""

from dld.scoring.alignment import Alignment, ErrorCounts, align, error_counts, wer
from dld.scoring.bootstrap import paired_bootstrap, wer_interval

__all__ = ["Alignment", "ErrorCounts", "align", "error_counts", "paired_bootstrap", "wer", "wer_interval"]
