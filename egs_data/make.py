#!/usr/bin/env python3
"""Make the miniatures of TED-LIUM 3 and LibriSpeech next to this file: true layouts, synthetic speech, own texts.

PYTHONPATH=. python egs_data/make.py [DESTINATION]
"""

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
import soundfile

from dld.data import espeak, normalise
from dld.data.audio import resample
from dld.files import atomic_write

RATE = 16000

# Split → talks: name, speaker, espeak-ng voice, label, lines. A line is an STM text; after "|" stands what is spoken
# where that differs from the normalised text. "-" is a part that scoring ignores, "+" one that the line before
# overlaps by half a second.
TALKS = {
    "train": [
        (
            "AdaMorrow_2011",
            "AdaMorrow_2011",
            "en-us+f2",
            "<NA>",
            [
                "-",
                "so i 'd like to talk about a river",
                "it 's a small river and it isn 't on any map",
                "when i was ten my brothers ' boat sank there",
                "{NOISE} we had to wait 'til the water went down",
                "<sil> and then we walked home(2) in the dark",
                "{NOISE}|hm",
                "that 's how i learned what a map is for",
            ],
        ),
        (
            "BenHollis_2009G",
            "BenHollis_2009G",
            "en-gb-scotland+m3",
            "<o,f0,male>",
            [
                "there are 12 engines in this room",
                "not one of them will run the whole day",
                "my friend <unk> 's workshop built the first|my friend mister ramsbottom's workshop built the first",
                "-",
                "+we don 't need more power we need less weight",
                "'cause a light engine asks for little",
                "and you 've all seen what a heavy one does",
                "thank you (BenHollis_2009G-20.00-21.00-F0_M)",
            ],
        ),
        (
            "CleoVance_2013X",
            "CleoVance_2013X",
            "en-us+f4",
            "<o,f0,female>",
            [
                "let 's begin with the bees",
                "a bee finds its way by the light of the sky",
                "if the sky is grey it remembers the road",
                "{COUGH} they 're better at this than we are",
                "i 'll show you three short films",
                "we counted forty hives in nineteen gardens",
            ],
        ),
    ],
    "dev": [
        (
            "DrewPike_2008",
            "DrewPike",
            "en-us+m2",
            "<F0_M>",
            [
                "-",
                "i want to tell you about a clock",
                "it 's the oldest clock in the town",
                "nobody knows who built it or when",
                "we can 't wait 'til it stops",
            ],
        ),
        (
            "EllaFrost_2010P",
            "EllaFrost",
            "en-gb-x-rp+f3",
            "<F0_F>",
            ["bread is water and flour and time", "-", "+the time is what we 've forgotten", "so let 's slow down"],
        ),
    ],
    "test": [
        (
            "FinnGrey_2012U",
            "FinnGrey",
            "en-gb-x-gbclan+m4",
            "<o,f0,male>",
            [
                "-",
                "a bridge is a promise between two towns (FinnGrey_2012U-1.20-3.90-F0_M)",
                "{NOISE} this one was built in 1904",
                "'cause the ferry wouldn 't run in winter",
                "you 'd see the whole valley from it",
            ],
        ),
        (
            "GretaLund_2009",
            "GretaLund",
            "en-us+f5",
            "<o,f0,female>",
            [
                "my mother(2) counted stars",
                "-",
                "+she 's the reason i build lenses",
                "it 's dark and we 're looking up",
            ],
        ),
    ],
}

# Split → readers: number, gender, espeak-ng voice, name, chapter → lines.
READERS = {
    "train-clean-100": [
        (
            "103",
            "F",
            "en-us+f1",
            "Ada Morrow",
            {
                "1240": ["THE LAMP WAS LIT BEFORE THE SUN HAD SET", "SHE PUT THE LETTER BACK INTO ITS BOX"],
                "1241": ["NOTHING IN THE HOUSE HAD MOVED SINCE THEN", "THE OLD DOG DIDN'T EVEN RAISE HIS HEAD"],
            },
        ),
        (
            "1034",
            "M",
            "en-gb-scotland+m1",
            "Ben Hollis",
            {
                "121119": [
                    "WE RODE ALL DAY AND SAW NO OTHER MAN",
                    "IT WAS A WIDE AND SILENT COUNTRY",
                    "BEYOND THE HILL THERE STOOD A SINGLE TREE",
                    "MY HORSE WAS TIRED AND SO WAS I",
                ]
            },
        ),
        (
            "118",
            "F",
            "en-us+f3",
            "Cleo Vance",
            {
                "47824": [
                    "THE KING'S THREE SONS WENT OUT TO FIND THE WELL",
                    "THE FIRST WENT EAST AND NEVER CAME AGAIN",
                    "THE SECOND FELL ASLEEP BESIDE THE ROAD",
                ]
            },
        ),
    ],
    "train-clean-360": [
        ("100", "M", "en-us+m5", "Drew Pike", {"122655": ["THE SHIP CAME IN AT NOON", "HER SAILS WERE TORN AND GREY"]})
    ],
    "train-other-500": [
        ("20", "F", "en-gb-x-gbcwmd+f2", "Ella Frost", {"205": ["HE ASKED FOR BREAD AND SALT", "I HAD NEITHER"]})
    ],
    "dev-clean": [
        (
            "1272",
            "M",
            "en-us+m2",
            "Finn Grey",
            {"128104": ["THE RAIN FELL ALL THE NIGHT", "BY MORNING THE ROAD WAS GONE"]},
        )
    ],
    "dev-other": [
        ("116", "F", "en-gb-x-rp+f4", "Greta Lund", {"288045": ["HIS HANDS WERE COLD", "I GAVE HIM MY OWN COAT"]})
    ],
    "test-clean": [
        (
            "1089",
            "M",
            "en-us+m3",
            "Hugh Dale",
            {"134686": ["THERE WAS STEW FOR SUPPER", "HE ATE IT STANDING BY THE FIRE", "THEN THE DOOR OPENED"]},
        )
    ],
    "test-other": [
        ("1688", "F", "en-us+f5", "Iris Holt", {"142285": ["THE MILL STOOD SILENT", "NO ONE WORKED THERE ANY MORE"]})
    ],
}


# What the corpus has for language models: a sentence a line, upper and lower case.
SENTENCES = [
    "So I would like to talk about a map",
    "It is a small engine and it is not on any map",
    "That is how I learned what a river is for",
    "We walked home in the dark",
    "There are two boats in this river and not one of them will run the whole day",
    "Thank you",
]


def speak(voice, texts):
    """Return the speech of one voice: a list of 16 kHz int16 signals."""
    speech = espeak.speak(voice, [{"text": text.lower(), "rate": 190} for text in texts])
    signals = (np.frombuffer(pcm, np.int16) / np.float32(32768) for pcm in speech)
    return [np.round(resample(signal, espeak.SAMPLE_RATE, RATE) * 0.9 * 32767).astype(np.int16) for signal in signals]


def make_talk(name, speaker, voice, label, lines):
    """Return the samples of a talk and the lines of its STM."""
    spoken = [line for line in lines if line != "-"]
    texts = [(line.partition("|")[2] or normalise.tedlium(line)).lstrip("+") for line in spoken]
    speech = dict(zip(spoken, speak(voice, texts), strict=True))
    hum = np.random.RandomState(len(name))
    samples, stm, now = [], [], 0.0

    def add(part):
        nonlocal now
        samples.append(part)
        now += len(part) / RATE

    def silence(seconds):
        add(hum.randint(-20, 21, round(seconds * RATE)).astype(np.int16))

    for line in lines:
        start = now
        if line == "-":
            silence(0.9)
            stm.append((start, now, "inter_segment_gap", "<o,,unknown>", "ignore_time_segment_in_scoring"))
            continue
        if line.startswith("+"):
            # Scoring ignores the gap before; its end overlaps this line by half a second.
            stm[-1] = (stm[-1][0], start + 0.5, *stm[-1][2:])
        add(speech[line])
        stm.append((start, now, speaker, label, line.partition("|")[0].lstrip("+")))
        silence(0.25)
    rows = [f"{name} 1 {who} {start:.2f} {end:.2f} {tag} {text}" for start, end, who, tag, text in stm]
    return np.concatenate(samples), rows


def make_tedlium3(root):
    """Make TEDLIUM_release-3; talks of train are links into `data`, as in the corpus."""
    for split, talks in TALKS.items():
        for talk in talks:
            samples, rows = make_talk(*talk)
            folder = root / "legacy" / split
            origin = root / "data" if split == "train" else folder
            for kind in ("sph", "stm"):
                (origin / kind).mkdir(parents=True, exist_ok=True)
                (folder / kind).mkdir(parents=True, exist_ok=True)
            soundfile.write(origin / "sph" / f"{talk[0]}.sph", samples, RATE, format="NIST", subtype="PCM_16")
            with atomic_write(origin / "stm" / f"{talk[0]}.stm") as out:
                out.writelines(f"{row}\n" for row in rows)
            if origin != folder:
                for kind in ("sph", "stm"):
                    name = f"{talk[0]}.{kind}"
                    (folder / kind / name).symlink_to(Path("..", "..", "..", "data", kind, name))
    text = "".join(f"{sentence}\n" for sentence in SENTENCES)
    (root / "LM").mkdir()
    (root / "LM" / "miniature.en.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def make_librispeech(root):
    """Make LibriSpeech: all splits, and SPEAKERS.TXT."""
    rows = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    for split, readers in READERS.items():
        for reader, gender, voice, name, chapters in readers:
            seconds = 0.0
            for chapter, lines in chapters.items():
                folder = root / split / reader / chapter
                folder.mkdir(parents=True)
                ids = [f"{reader}-{chapter}-{number:04d}" for number in range(len(lines))]
                for key, signal in zip(ids, speak(voice, lines), strict=True):
                    soundfile.write(folder / f"{key}.flac", signal, RATE, subtype="PCM_16")
                    seconds += len(signal) / RATE
                with atomic_write(folder / f"{reader}-{chapter}.trans.txt") as out:
                    out.writelines(f"{key} {line}\n" for key, line in zip(ids, lines, strict=True))
            rows.append(f"{reader:<4} | {gender} | {split:<16} | {seconds / 60:5.2f} | {name}")
    with atomic_write(root / "SPEAKERS.TXT") as out:
        out.writelines(f"{row}\n" for row in rows)


def main():
    """Make both again."""
    destination = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent)
    for folder, make in (
        ("tedlium3/TEDLIUM_release-3", make_tedlium3),
        ("librispeech/LibriSpeech", make_librispeech),
    ):
        shutil.rmtree(destination / folder, ignore_errors=True)
        make(destination / folder)


if __name__ == "__main__":
    main()
