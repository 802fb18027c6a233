"""Long recordings in windows: how much of the text differs from that of the whole, and the memory of an hour.

The recordings are utterances of a test set with pauses between them. Whole recordings are the measure as long as they
are short enough; the control is what a whole recording's text changes by when half as much speech follows it.

    python benchmarks/long_files.py --exp exp/dld --data data/test --output benchmarks/results/long_files.json
"""

import argparse
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

import dld
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.files import write_json
from dld.provenance import git_hash, processor, versions
from dld.scoring import wer
from dld.scoring.alignment import CORRECT, DELETION, INSERTION, align

RATE = 16000
#: Distances from the nearest joint, in seconds, that differences are counted by.
EDGES = (0, 1, 2, 4, 8, float("inf"))
WHOLE = 1e6


def stream(utterances, seconds, pause, seed):
    """Yield samples and text of utterances in random order, each with a pause of noise after it."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    left = round(seconds * RATE)
    while left > 0:
        utterance = rng.choice(utterances)
        silence = noise.normal(0, 1e-3, round(RATE * pause * noise.uniform(0.5, 1.5)))
        samples = np.concatenate([read_audio(utterance.recording), silence]).astype(np.float32)[:left]
        left -= len(samples)
        yield samples, utterance.text


def differences(first, second):
    """Return the seconds at which two transcripts differ, one entry for each word."""
    found, i, j = [], 0, 0
    for op, _, _ in align([word.text for word in first], [word.text for word in second]).ops:
        if op != CORRECT:
            found.append(second[j].start if op == INSERTION else first[i].start)
        i, j = i + (op != INSERTION), j + (op != DELETION)
    return found


def near(times, joints):
    """Return how many of some times are at each distance from the nearest joint, by `EDGES`."""
    distances = [min(abs(time - joint) for joint in joints) for time in times]
    return np.histogram(distances, EDGES)[0]


def agreement(model, recordings, window, wholes, depth):
    """Compare the text in windows with that of whole recordings."""
    differ, words = np.zeros(len(EDGES) - 1), np.zeros(len(EDGES) - 1)
    texts = []
    for (samples, _), whole in zip(recordings, wholes, strict=True):
        found = model.transcribe(samples, sample_rate=RATE, times=True, window_seconds=window, depth=depth)
        differ += near(differences(whole.words, found.words), found.joints)
        words += near([word.start for word in whole.words], found.joints)
        texts.append(found.text)
    references = [text for _, text in recordings]
    return {
        "window": window,
        "differ_percent": 100 * differ.sum() / words.sum(),
        "by_distance": [
            {"from": low, "words": int(count), "differ_percent": 100 * number / count if count else None}
            for low, count, number in zip(EDGES, words, differ, strict=False)
        ],
        "wer": wer(references, texts),
    }


def control(model, recordings, wholes, depth):
    """Return the percentage of words that change when half as much speech follows a whole recording."""
    changed = 0
    for (samples, _), whole in zip(recordings, wholes, strict=True):
        longer = np.concatenate([samples, samples[: len(samples) // 2]])
        found = model.transcribe(longer, sample_rate=RATE, times=True, window_seconds=WHOLE, depth=depth)
        within = [word for word in found.words if word.end <= len(samples) / RATE]
        changed += len(differences(whole.words, within))
    return 100 * changed / sum(len(whole.words) for whole in wholes)


def memory(exp, utterances, seconds, pause, folder):
    """Return the largest resident memory of `dld transcribe` on a recording, in MiB."""
    path = Path(folder, f"{seconds}.flac")
    with soundfile.SoundFile(path, "w", RATE, 1) as out:
        for samples, _ in stream(utterances, seconds, pause, 0):
            out.write(samples)
    code = "import sys; from dld.bin.main import main; main(); print(open('/proc/self/status').read(), file=sys.stderr)"
    command = [sys.executable, "-c", code, "transcribe", exp, str(path), "--format", "json", "--times", "true"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    return int(re.search(r"VmHWM:\s+(\d+) kB", done.stderr)[1]) / 1024


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", required=True, help="folder of a trained experiment")
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the recordings that are compared (%(default)s)")
    parser.add_argument("--recordings", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--pause", type=float, default=0.5, help="mean seconds between utterances (%(default)s)")
    parser.add_argument("--windows", type=float, nargs="+", default=[10, 20, 40], help="(%(default)s)")
    parser.add_argument("--depth", type=int, help="(full depth)")
    parser.add_argument("--memory", type=int, nargs="*", default=[60, 3600], help="seconds (%(default)s)")
    parser.add_argument("--output", required=True, help="JSON file")
    arguments = parser.parse_args()
    model = dld.load_model(arguments.exp)
    utterances = list(kaldi.load(arguments.data))
    recordings = []
    for seed in range(arguments.recordings):
        parts = list(stream(utterances, arguments.seconds, arguments.pause, seed))
        recordings.append((np.concatenate([samples for samples, _ in parts]), " ".join(text for _, text in parts)))
    options = {"sample_rate": RATE, "times": True, "window_seconds": WHOLE, "depth": arguments.depth}
    wholes = [model.transcribe(samples, **options) for samples, _ in recordings]
    references = [utterance.text for utterance in utterances]
    alone = model.transcribe([utterance.recording for utterance in utterances], depth=arguments.depth)
    result = {
        "words": sum(len(whole.words) for whole in wholes),
        "wer_utterances": wer(references, alone),
        "wer_whole": wer([text for _, text in recordings], [whole.text for whole in wholes]),
        "control_percent": control(model, recordings, wholes, arguments.depth),
        "windows": [agreement(model, recordings, window, wholes, arguments.depth) for window in arguments.windows],
    }
    with tempfile.TemporaryDirectory() as folder:
        result["memory_mib"] = {
            str(seconds): memory(arguments.exp, utterances, seconds, arguments.pause, folder)
            for seconds in arguments.memory
        }
    settings = {name: value for name, value in vars(arguments).items() if name != "output"}
    about = {"git": git_hash(), "processor": processor(), "versions": versions(), "arguments": settings}
    write_json(arguments.output, {**about, **result})
    print(f"WER by utterance {result['wer_utterances']:.2f} %, of the whole {result['wer_whole']:.2f} %")
    print(f"{result['words']} words; {result['control_percent']:.2f} % change when more follows")
    for row in result["windows"]:
        print(f"window {row['window']:g} s: {row['differ_percent']:.2f} % differ, WER {row['wer']:.2f} %")
        for part in row["by_distance"]:
            if part["words"]:
                print(f"  from {part['from']:g} s of a joint: {part['differ_percent']:.2f} % of {part['words']}")
    for seconds, size in result["memory_mib"].items():
        print(f"{seconds} s: {size:.0f} MiB")


if __name__ == "__main__":
    main()
