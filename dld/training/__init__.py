"""Training: engine, Brain, objectives, soft targets, checkpoints."""
