"""Print the text of audio files, one line a file: its path, a tab, the text."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dld.bin import boolean, command, options
from dld.bin.models import add_beam_options, add_lm_options, add_network_options, check_lm_options, chosen_search, load
from dld.checks import COUNT
from dld.errors import DldError
from dld.gates import depth, format_gates

if TYPE_CHECKING:
    from dld.recognition.base import Find, Recognizer


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld transcribe", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="folder of a trained experiment")
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio of any rate: WAV, FLAC, OGG, MP3, SPHERE …")
    parser.add_argument("--depth", type=options.of(COUNT), help="blocks to run (default: all)")
    parser.add_argument("--gates", metavar="101100", help="blocks to run, instead of --depth: 1 runs, 0 is skipped")
    add_network_options(parser)
    add_beam_options(parser)
    add_lm_options(parser)
    parser.add_argument("--json", type=boolean, default=False, help="print a JSON object a line")
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


def print_result(path: str, text: str | DldError, gates: Sequence[bool], as_json: bool) -> None:
    """Print the text of a file on standard output, or what is wrong with it on standard error."""
    if isinstance(text, DldError):
        print(f"dld transcribe: error: {' '.join(str(text).splitlines())}", file=sys.stderr, flush=True)
    elif as_json:
        record = {"path": path, "text": text, "depth": depth(gates), "gates": format_gates(gates)}
        print(json.dumps(record, ensure_ascii=False), flush=True)
    else:
        print(f"{path}\t{text}", flush=True)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Transcribe all files that can be read; the status is 1 if one could not."""
    arguments = make_parser().parse_args(argv)
    check_lm_options(arguments)
    recognizer = load(arguments.model, arguments)
    gates = recognizer.gate_vector(
        depth=arguments.depth, gates=arguments.gates, policy=arguments.policy, seed=arguments.policy_seed
    )
    found: dict[int, str | DldError] = {}
    following = 0
    with searching(recognizer, gates, arguments) as find:
        for index, text in recognizer.transcribe_each(
            arguments.files, gates, find=find, batch_seconds=arguments.batch_seconds
        ):
            found[index] = text
            # In the order of the command line, as soon as all before it are done.
            while following in found:
                print_result(arguments.files[following], found[following], gates, arguments.json)
                following += 1
    return int(any(isinstance(text, DldError) for text in found.values()))


if __name__ == "__main__":
    sys.exit(main())
