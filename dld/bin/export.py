"""Export a trained model: a pack, which runs any depth without torch, or models for sherpa-onnx or onnx-asr.

A pack has one copy of the weights and any gate vector. A model for another runtime has the gates that it is exported
with; with --all-depths there is one for each depth, and they share a file of weights.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dld.bin import add_pipes_option, command, options
from dld.bin.models import load_experiment
from dld.checks import COUNT, Whole
from dld.errors import DldError, UsageError
from dld.gates import POLICIES, parse_depths

if TYPE_CHECKING:
    from dld.packs.metadata import Metadata
    from dld.recognition.eager import EagerRecognizer

logger = logging.getLogger(__name__)

FORMATS = ("pack", "sherpa-onnx", "onnx-asr")


def make_parser() -> options.Parser:
    """Return the parser of the command line."""
    parser = options.Parser(prog="dld export", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="folder of a trained experiment")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; an earlier export is replaced")
    parser.add_argument("--format", choices=FORMATS, default="pack", help="what runs it")
    parser.add_argument(
        "--precision", choices=("float32", "int8"), default="float32", help="of the matrices of the blocks"
    )
    parser.add_argument("--data", metavar="DIR", help="of a pack: Kaldi data directory to measure its error rates on")
    parser.add_argument(
        "--depths",
        help="such as 2,4,12: of a pack, with --data, those that are measured (default: all); for sherpa-onnx, those "
        "that are written",
    )
    parser.add_argument("--depth", type=options.of(COUNT), help="of a model for another runtime (default: all blocks)")
    parser.add_argument("--gates", metavar="101100", help="instead of --depth: 1 runs, 0 is skipped")
    parser.add_argument("--all-depths", action="store_true", help="for sherpa-onnx: a model for each trained depth")
    parser.add_argument("--policy", choices=POLICIES, help="gate policy of depths (default: decode_policy)")
    parser.add_argument("--policy-seed", type=options.of(Whole()), default=0, help="of the policy random")
    add_pipes_option(parser)
    return parser


def check_options(arguments: Namespace) -> None:
    """Raise a `UsageError` where options do not go together."""
    names = ("depth", "gates", "all_depths", "policy", "depths")
    given = [name for name in names if getattr(arguments, name) not in (None, False)]
    if arguments.format == "pack":
        if given and given[0] != "depths":
            name = given[0].replace("_", "-")
            raise UsageError(f"--{name} is for other runtimes: a pack runs any gate vector (see dld export --help)")
        if given and not arguments.data:
            raise UsageError(
                "--depths says at which depths --data is decoded; give --data, too (see dld export --help)"
            )
        return
    if len(set(given) - {"policy"}) > 1:
        raise UsageError("give one of --depth, --depths, --gates and --all-depths (see dld export --help)")
    if arguments.data:
        raise UsageError("--data is for packs (see dld export --help)")
    if arguments.format == "onnx-asr" and not {"all_depths", "depths"}.isdisjoint(given):
        raise UsageError("onnx-asr takes one model a folder: give --depth, and export again for another")


def chosen_vectors(recognizer: EagerRecognizer, arguments: Namespace) -> list[tuple[bool, ...]]:
    """Return the gate vectors of the models to write."""
    policy = arguments.policy
    if policy is None and arguments.gates is None:
        policy = "table" if recognizer.gate_table() is not None else None
    depths: Sequence[int | None] = [arguments.depth]
    if arguments.depths is not None:
        depths = parse_depths(arguments.depths, recognizer.num_blocks)
    elif arguments.all_depths:
        depths = recognizer.trained_depths()
    return [
        recognizer.gate_vector(depth=depth, gates=arguments.gates, policy=policy, seed=arguments.policy_seed)
        for depth in depths
    ]


def print_depths(metadata: Metadata) -> None:
    """Print what each depth of a pack costs and how well it does."""
    for record in metadata.depths:
        rate = (
            ""
            if record.wer is None or metadata.test_set is None
            else f"  WER {record.wer:.2f} % on {metadata.test_set.name}"
        )
        print(f"depth {record.depth:2}  {record.gates}  {100 * record.compute:5.1f} % of full compute{rate}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Export a model."""
    arguments = make_parser().parse_args(argv)
    check_options(arguments)
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise DldError(f"dld export needs {error.name}, which is not installed: pip install 'dld[export]'") from None
    from dld.files import writable_folder

    writable_folder(arguments.out)
    recognizer = load_experiment(arguments.model, Namespace(device="cpu", precision="fp32"))
    if arguments.format == "pack":
        from dld.export.pack import export_pack

        depths = None if arguments.depths is None else parse_depths(arguments.depths, recognizer.num_blocks)
        print_depths(export_pack(recognizer, arguments.out, arguments.precision, arguments.data, depths))
    else:
        from dld.export.foreign import export_onnx_asr, export_sherpa

        vectors = chosen_vectors(recognizer, arguments)
        if arguments.format == "sherpa-onnx":
            about = export_sherpa(recognizer, arguments.out, vectors, arguments.precision)
        else:
            about = export_onnx_asr(recognizer, arguments.out, vectors[0], arguments.precision)
        for entry in about["models"]:
            print(f"{about['kind']}  {Path(arguments.out) / entry['file']}  depth {entry['depth']}  {entry['gates']}")


if __name__ == "__main__":
    sys.exit(main())
