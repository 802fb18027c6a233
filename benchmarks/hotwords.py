"""What hotwords do to a test set: how many are found, where they are written but not said, and the error rates.

    cd recipes/mini
    python ../../benchmarks/hotwords.py --exp exp/dld --data data/test --depths 2,6,12 --hotwords tens.txt \
        --lm data/3gram.arpa

Counts are of single words: a phrase counts by each of its words.
"""

import argparse

from dld.data import kaldi
from dld.decoding.beam import BeamSearch
from dld.decoding.hotwords import read_hotwords
from dld.decoding.lm import LanguageModel, Weights
from dld.decoding.settings import Search
from dld.recognition.loading import load_model
from dld.scoring import align, wer
from dld.scoring.alignment import CORRECT


def measure(references, hypotheses, words):
    """Return how often words are said, found, and written where they are not said; WER, and that without the words."""
    said = found = written = 0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        alignment = align(reference.split(), hypothesis.split())
        said += sum(word in words for _, word, _ in alignment.ops)
        found += sum(word in words for operation, word, _ in alignment.ops if operation == CORRECT)
        written += sum(word in words for _, _, word in alignment.ops)
    others = [pair for pair in zip(references, hypotheses, strict=True) if not words & set(pair[0].split())]
    without = wer(*map(list, zip(*others, strict=True))) if others else float("nan")
    return said, found, written - found, wer(references, hypotheses), without, len(others)


def main():
    """Search with and without hotwords at each depth, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", required=True, help="model folder")
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--hotwords", required=True, help="file of hotwords")
    parser.add_argument("--hotword-weight", type=float, default=Search.hotword_weight, help="(%(default)s)")
    parser.add_argument("--depths", default="2,6,12", help="(%(default)s)")
    parser.add_argument("--lm", help="language model, alpha 0.6, beta 2; searches with and without it")
    arguments = parser.parse_args()
    model = load_model(arguments.exp)
    utterances = kaldi.load(arguments.data, ("wav.scp", "utt2spk", "utt2dur", "text"))
    references = [utterance.text for utterance in utterances]
    search = Search(hotwords=arguments.hotwords, hotword_weight=arguments.hotword_weight)
    tokens = model.tokenizer.tokens()
    words = {word for each in read_hotwords(arguments.hotwords, 1.0) for word in each.phrase.split()}
    models = {"no": (None, None)}
    if arguments.lm:
        models["yes"] = LanguageModel(arguments.lm), Weights(0.6, 2.0)
    for depth in map(int, arguments.depths.split(",")):
        log_probs = model.log_probs([utterance.recording for utterance in utterances], depth=depth)
        for name, (lm, weights) in models.items():
            for bonus in (None, search.bonus(tokens)):
                found = BeamSearch(tokens, lm, weights, hotwords=bonus)
                row = measure(references, list(map(found.text, log_probs)), words)
                print(
                    f"depth {depth:2}, LM {name:3}, hotwords {'yes' if bonus else 'no ':3}: found {row[1]} of "
                    f"{row[0]}, not said {row[2]}, WER {row[3]:.2f} %, of the other {row[5]} utterances {row[4]:.2f} %",
                    flush=True,
                )


if __name__ == "__main__":
    main()
