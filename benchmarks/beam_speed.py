"""The beam search next to SpeechBrain's: the same posteriors, processor time of one thread, and equal results.

Both take turns utterance by utterance. Without `--exp`, the posteriors are random: from flat to peaked, as those of
networks from the first epochs to the last.

    python benchmarks/beam_speed.py --output benchmarks/results/beam_speed.json
    cd recipes/mini
    python ../../benchmarks/beam_speed.py --exp exp/dld --data data/test --depths 2,6,12 --lm data/3gram.arpa \
        --hotwords words.txt --output ../../benchmarks/results/beam_speed.json
"""

import argparse
import statistics
import time

import numpy as np
from speechbrain.decoders.ctc import CTCBeamSearcher

from dld.decoding.beam import BeamSearch
from dld.decoding.best_path import log_softmax
from dld.decoding.lm import LanguageModel, Weights, WordScorer
from dld.decoding.settings import BeamSettings, Search
from dld.files import write_json
from dld.gates import parse_depths
from dld.provenance import git_hash, processor, versions


class Reference(CTCBeamSearcher):
    """SpeechBrain's searcher with the same settings, and with the sentence's end scored, which it leaves out."""

    def __init__(self, tokens, model, weights, settings):
        super().__init__(
            blank_index=0,
            vocab_list=tokens,
            beam_size=settings.size,
            beam_prune_logp=settings.beam_logp,
            token_prune_min_logp=settings.token_logp,
            prune_history=model is not None,
        )
        if model is not None:
            self.lm = WordScorer(model, weights)

    def finalize_decoding(self, beams, cached_lm_scores, *arguments, **options):
        """Return the finished hypotheses, the best first."""
        beams = super().finalize_decoding(beams, cached_lm_scores, *arguments, **options)
        if self.lm is not None:
            for beam in beams:
                beam.lm_score += self.lm.end_score(cached_lm_scores[beam.text, False][1])
        return self.sort_beams(beams)

    def best(self, log_probs):
        """Return text, acoustic score and score of the best hypothesis."""
        log_probs = np.array(log_probs, np.float64)
        log_probs[:, 1] = -np.inf
        best = self.decode_log_probs(log_probs, len(log_probs))[0]
        return best.text, best.score, best.lm_score


def random_posteriors(vocabulary, frames, scale):
    """Return token names, and log probabilities of four utterances whose logits have a standard deviation."""
    tokens = ["<blk>", "<unk>", "▁"]
    letters = "etaoinshrdlucmfwygpb"
    tokens += [f"▁{c}" for c in letters] + list(letters) + [a + b for a in letters for b in letters]
    generator = np.random.default_rng(0)
    rows = generator.normal(0, scale, (4, frames, vocabulary))
    rows[:, :, 0] += scale
    return tokens[:vocabulary], [log_softmax(logits) for logits in rows]


def real_posteriors(exp, data, depth):
    """Return token names, and log probabilities of a data set at a depth."""
    from dld.data import kaldi
    from dld.recognition.loading import load_model

    model = load_model(exp)
    recordings = [utterance.recording for utterance in kaldi.load(data, ("wav.scp", "utt2spk", "utt2dur"))]
    return model.tokenizer.tokens(), model.log_probs(recordings, depth=depth)


def compare(name, tokens, utterances, model, settings, hotwords=None):
    """Return a row: seconds of all utterances for each search, their ratio, and how many results are equal."""
    weights = None if model is None else Weights(0.6, 2.0)
    ours, theirs = BeamSearch(tokens, model, weights, settings), Reference(tokens, model, weights, settings)
    boosted = None if hotwords is None else BeamSearch(tokens, model, weights, settings, hotwords.bonus(tokens))
    for search in (ours.hypotheses, theirs.best):
        search(utterances[0])  # warms up
    seconds, ratios, equal, same_scores = {"dld": 0.0, "speechbrain": 0.0, "dld with hotwords": 0.0}, [], 0, 0
    for log_probs in utterances:
        began = time.process_time()
        found = ours.hypotheses(log_probs)[0]
        middle = time.process_time()
        expected = theirs.best(log_probs)
        end = time.process_time()
        if boosted:
            boosted.hypotheses(log_probs)
            seconds["dld with hotwords"] += time.process_time() - end
        seconds["dld"] += middle - began
        seconds["speechbrain"] += end - middle
        ratios.append((end - middle) / (middle - began))
        equal += found.text == expected[0]
        same_scores += (found.acoustic, found.score) == expected[1:]
    row = {
        "posteriors": name,
        "language_model": model is not None,
        "beam": settings.size,
        "utterances": len(utterances),
        "frames": sum(map(len, utterances)),
        "seconds": seconds,
        "times_speechbrain": seconds["speechbrain"] / seconds["dld"],
        "median_of_ratios": statistics.median(ratios),
        "equal_texts": equal,
        "equal_scores": same_scores,
    }
    added = f", with hotwords {seconds['dld with hotwords'] / seconds['dld']:.2f} times ours" if boosted else ""
    print(
        f"{name:24} {'LM' if model else '--'} beam {settings.size:3}: {seconds['dld']:.2f} s, "
        f"{row['times_speechbrain']:.1f} times SpeechBrain's speed; {equal} of {len(utterances)} texts and "
        f"{same_scores} scores equal{added}",
        flush=True,
    )
    return row


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", help="model folder, for real posteriors")
    parser.add_argument("--data", help="with --exp: Kaldi data directory")
    parser.add_argument("--depths", default="all", help="with --exp: such as 2,6,12 (%(default)s)")
    parser.add_argument("--lm", help="with --exp: language model, alpha 0.6, beta 2")
    parser.add_argument("--hotwords", help="with --exp: file of hotwords, whose search is timed too")
    parser.add_argument("--sizes", default="8,50", help="beams (%(default)s)")
    parser.add_argument("--output", help="JSON file")
    arguments = parser.parse_args()
    sizes = [BeamSettings(int(size)) for size in arguments.sizes.split(",")]
    rows = []
    for scale in (3, 5, 8):
        tokens, utterances = random_posteriors(256, 100, scale)
        rows += [compare(f"random, deviation {scale}", tokens, utterances, None, settings) for settings in sizes]
    if arguments.exp:
        models = [None] if arguments.lm is None else [None, LanguageModel(arguments.lm)]
        hotwords = None if arguments.hotwords is None else Search(hotwords=arguments.hotwords)
        for depth in parse_depths(arguments.depths, 12):
            tokens, utterances = real_posteriors(arguments.exp, arguments.data, depth)
            for model in models:
                for settings in sizes:
                    rows.append(compare(f"depth {depth}", tokens, utterances, model, settings, hotwords))
    if arguments.output:
        about = {"git": git_hash(), "versions": versions(), "processor": processor()}
        write_json(arguments.output, {**about, "rows": rows})


if __name__ == "__main__":
    main()
