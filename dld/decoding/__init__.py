"""From logits to words: the best path, and beam search with or without an n-gram language model and hotwords."""
