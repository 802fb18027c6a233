"""Audio in, text out, at any depth: decoding, tuning, gate search, timing and validation go through it."""
