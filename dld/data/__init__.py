"""Audio, Kaldi data directories, tokens and batches."""
