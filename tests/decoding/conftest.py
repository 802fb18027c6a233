"""Language models of the decoding tests."""

import random
import re

import pytest

from dld.decoding import ngram


@pytest.fixture(scope="session")
def kenlm():
    """KenLM's Python module; tests that need it skip where it is not installed."""
    return pytest.importorskip("kenlm", reason="KenLM is not installed (pip install kenlm)")


@pytest.fixture(scope="session")
def sentences():
    """Sentences of words with Zipf's frequencies."""
    dice = random.Random(3)
    names, weights = [f"w{i}" for i in range(40)], [1 / (i + 1) for i in range(40)]
    return [dice.choices(names, weights, k=dice.randint(1, 7)) for _ in range(400)]


class Arpa:
    """The plainest reader of ARPA files: dictionaries and the definition of backing off."""

    def __init__(self, path):
        self.probabilities, self.backoffs, self.stated, k = {}, {}, {}, 0
        with ngram.open_text(path) as lines:
            for line in map(str.rstrip, lines):
                if match := re.fullmatch(r"ngram\s+(\d+)\s*=\s*(\d+)", line):
                    self.stated[int(match[1])] = int(match[2])
                elif match := re.fullmatch(r"\\(\d+)-grams:", line):
                    k = int(match[1])
                elif k and line and line[0] != "\\":
                    log, *rest = line.split()
                    words = tuple(rest[:k])
                    self.probabilities[words] = float(log)
                    self.backoffs[words] = float(rest[k]) if len(rest) > k else 0.0
        self.order = max(self.stated)
        self.vocabulary = [words[0] for words in self.probabilities if len(words) == 1 and words[0] != "<s>"]

    def log10(self, context, word):
        """Log10 probability of a word after a tuple of words."""
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        if (word,) not in self.probabilities:
            word = "<unk>"
        if (*context, word) in self.probabilities:
            return self.probabilities[(*context, word)]
        return self.backoffs.get(context, 0.0) + self.log10(context[1:], word)


@pytest.fixture(scope="session")
def read_arpa():
    """Reader of ARPA files: `read_arpa(path).log10(context, word)`."""
    return Arpa


@pytest.fixture(scope="session")
def arpa(sentences, tmp_path_factory):
    """A trigram model of the random sentences."""
    path = tmp_path_factory.mktemp("lm") / "random.arpa"
    ngram.estimate(sentences, order=3).write(path)
    return path
