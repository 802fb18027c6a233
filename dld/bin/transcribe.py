"""Print the text of audio files: a line for each, JSON, or subtitles and times of words."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dld.bin import add_progress_option, boolean, command, options
from dld.bin.models import (
    add_beam_options,
    add_hotword_options,
    add_lm_options,
    add_network_options,
    check_search_options,
    chosen_search,
    load,
)
from dld.checks import COUNT, Number
from dld.data.inputs import Input, expand
from dld.errors import DldError, UsageError
from dld.files import atomic_write, writable_folder
from dld.gates import depth, format_gates
from dld.progress import Meter
from dld.recognition.transcript import ctm_name

if TYPE_CHECKING:
    from dld.recognition.assembly import Find
    from dld.recognition.base import Recognizer
    from dld.recognition.transcript import Transcript

#: Formats, and the ends of the names of files that hold one recording each.
SUFFIXES = {"text": ".txt", "json": ".json", "ctm": ".ctm", "srt": ".srt", "vtt": ".vtt"}
TIMED = ("ctm", "srt", "vtt")


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld transcribe", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="folder of a trained experiment, or a pack of dld export")
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="audio of any length and rate: WAV, FLAC, OGG, MP3, SPHERE …; a folder; or -, standard input",
    )
    parser.add_argument("--depth", type=options.of(COUNT), help="blocks to run (default: all)")
    parser.add_argument("--gates", metavar="101100", help="blocks to run, instead of --depth: 1 runs, 0 is skipped")
    parser.add_argument(
        "--budget",
        type=options.of(Number(0, 1)),
        help="instead of --depth: the part of full compute to use, such as 0.5",
    )
    parser.add_argument("--threads", type=options.of(COUNT), help="threads that run a pack (default: 1)")
    parser.add_argument(
        "--format",
        choices=tuple(SUFFIXES),
        default="text",
        help="text: path, tab, text; json: an object a line; ctm: a line for each word; srt, vtt: subtitles",
    )
    parser.add_argument(
        "--times", type=boolean, default=False, help="with --format json: start, end and confidence of each word"
    )
    parser.add_argument("--out", metavar="DIR", help="write a file for each recording there, instead of printing")
    parser.add_argument(
        "--window",
        metavar="SECONDS",
        type=options.of(Number(low=1)),
        default=40.0,
        help="longer audio runs in windows of this length, joined at pauses",
    )
    add_network_options(parser)
    add_beam_options(parser)
    add_lm_options(parser)
    add_hotword_options(parser)
    add_progress_option(parser)
    return parser


@contextlib.contextmanager
def searching(recognizer: Recognizer, gates: Sequence[bool], arguments: Namespace) -> Iterator[Find | None]:
    """Yield what `Recognizer.texts` searches with, None for best-path decoding."""
    search = chosen_search(recognizer, arguments)
    if search is None:
        yield None
        return
    from dld.decoding.beam import SearchPool

    weights = recognizer.lm_weights(search, gates)
    with SearchPool(recognizer.tokenizer.tokens(), search, arguments.jobs) as pool:
        yield pool.spread(weights)


def check_output(inputs: Sequence[Input], arguments: Namespace) -> None:
    """Raise where the results of several recordings could not be told from each other."""
    if arguments.times and arguments.format == "text":
        raise UsageError("--times: text has no times; take --format json, ctm, srt or vtt")
    if arguments.out:
        names = [str(item.inner.with_suffix("")) for item in inputs]
    elif arguments.format in ("srt", "vtt") and len(inputs) > 1:
        raise UsageError(f"--format {arguments.format} of several recordings needs --out DIR, for a file of each")
    else:
        names = [ctm_name(item.inner.stem) for item in inputs] if arguments.format == "ctm" else []
    for name, number in Counter(names).items():
        if number > 1:
            raise DldError(f"{number} recordings have the name {name}; transcribe them one by one, or rename them")


def shown(item: Input, transcript: Transcript, gates: Sequence[bool], arguments: Namespace) -> str:
    """Return what is printed of a recording, or written into its file."""
    if arguments.format == "json":
        about = {"depth": depth(gates), "gates": format_gates(gates)}
        content = transcript.to_json()
        record = {"path": item.name, "text": content.pop("text"), **about, **content}
        # Bytes of a file name that are not UTF-8 are lone surrogates, which JSON can only hold as escapes.
        return _escaped(r"[\ud800-\udfff]", json.dumps(record, ensure_ascii=False)) + "\n"
    if arguments.format == "ctm":
        return transcript.to_ctm(item.inner.stem)
    if arguments.format in TIMED:
        return transcript.to_srt() if arguments.format == "srt" else transcript.to_vtt()
    # A line for each recording, whatever it is called, in any encoding of the terminal.
    name = _escaped(r"[\x00-\x1f\x7f\ud800-\udfff]", item.name)
    return f"{transcript.text}\n" if arguments.out else f"{name}\t{transcript.text}\n"


def _escaped(characters: str, text: str) -> str:
    """Return a text with the characters of a regular expression escaped, as JSON has them."""
    return re.sub(characters, lambda match: f"\\u{ord(match[0]):04x}", text)


def give(item: Input, found: Transcript | DldError, gates: Sequence[bool], arguments: Namespace) -> None:
    """Print or write the result of a recording, or say on standard error what is wrong with it."""
    if isinstance(found, DldError):
        message = " ".join(str(found).replace(item.path, item.name).splitlines())
        print(f"dld transcribe: error: {message}", file=sys.stderr, flush=True)
    elif arguments.out:
        path = Path(arguments.out, item.inner.with_suffix(SUFFIXES[arguments.format]))
        with atomic_write(path) as out:
            out.write(shown(item, found, gates, arguments))
    else:
        print(shown(item, found, gates, arguments), end="", flush=True)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe all recordings that can be read; the status is 1 if one could not."""
    arguments = make_parser().parse_args(argv)
    check_search_options(arguments)
    with tempfile.TemporaryDirectory(prefix="dld-") as folder:
        inputs = expand(arguments.files, Path(folder))
        check_output(inputs, arguments)
        if arguments.out:
            writable_folder(arguments.out)
        return transcribe(inputs, arguments)


def transcribe(inputs: Sequence[Input], arguments: Namespace) -> int:
    """Transcribe recordings in the order of the command line; return the exit status."""
    recognizer = load(arguments.model, arguments)
    gates = recognizer.gate_vector(
        depth=arguments.depth,
        gates=arguments.gates,
        budget=arguments.budget,
        policy=arguments.policy,
        seed=arguments.policy_seed,
    )
    found: dict[int, Transcript | DldError] = {}
    following = 0
    with searching(recognizer, gates, arguments) as find, Meter("transcribe", "s", arguments.progress) as meter:
        for index, result in recognizer.transcribe_each(
            [item.path for item in inputs],
            gates,
            find=find,
            times=arguments.times or arguments.format in TIMED,
            batch_seconds=arguments.batch_seconds,
            window_seconds=arguments.window,
            progress=meter,
        ):
            found[index] = result
            # In the order of the command line, as soon as all before it are done.
            while following in found:
                meter.clear()
                give(inputs[following], found[following], gates, arguments)
                following += 1
    return int(any(isinstance(result, DldError) for result in found.values()))


if __name__ == "__main__":
    sys.exit(main())
