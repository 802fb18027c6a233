"""From logits to words: the best path, and beam search with or without an n-gram language model.

`greedy` is imported when it is first used, so that a command can read this package's settings without loading torch.
"""

__all__ = ["greedy"]


def __getattr__(name):
    if name == "greedy":
        from dld.decoding.best_path import greedy

        return greedy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
