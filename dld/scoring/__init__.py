"""Scoring: alignments, Kaldi score files, sclite, bootstrap intervals, the records of decodes."""

from dld.scoring.alignment import Alignment, ErrorCounts, align, error_counts, wer

__all__ = ["Alignment", "ErrorCounts", "align", "error_counts", "wer"]
