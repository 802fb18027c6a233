"""Dynamic speech networks: one speech recogniser that runs at any depth."""

__version__ = "0.1.0"
