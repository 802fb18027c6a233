"""Compute the error rates of a decode directory, in the files that Kaldi's scoring leaves."""

import dataclasses
import sys
from pathlib import Path

from dld.bin import boolean, command
from dld.bin.options import Parser, of
from dld.checks import COUNT, NOT_NEGATIVE
from dld.errors import DldError
from dld.files import read_record, writable_folder


def parser():
    """Return the command's parser."""
    options = Parser(prog="dld score", description=__doc__)
    options.add_argument("--ref", help="reference, a Kaldi text file (data/test/text)")
    options.add_argument("--hyp", help="hypotheses, a Kaldi text file (exp/…/decode_test/text)")
    options.add_argument("--exp", help="instead of --hyp: score every decode of --data in this experiment")
    options.add_argument("--data", help="instead of --ref, with --exp: the test set, a Kaldi data directory")
    options.add_argument("--output", help="decode directory to write into (default: the folder of --hyp)")
    options.add_argument("--utt2spk", help="speakers, for the table per speaker (default: utt2spk next to --ref)")
    options.add_argument(
        "--units", nargs="+", choices=("char", "word"), default=["word", "char"], help="what is counted"
    )
    options.add_argument("--ref-filter", help="shell command over the reference's lines before scoring")
    options.add_argument("--hyp-filter", help="shell command over the hypotheses' lines before scoring")
    source = "of this decode, for the names (default: as decode.json next to --hyp says, else that of none)"
    options.add_argument("--lmwt", help=f"language-model weight {source}")
    options.add_argument("--wip", help=f"word insertion penalty {source}")
    options.add_argument("--replicates", type=of(COUNT), default=10000, help="draws of the bootstrap interval")
    options.add_argument("--seed", type=of(NOT_NEGATIVE), default=0, help="seed of the bootstrap interval")
    options.add_argument(
        "--sclite", type=boolean, default=False, help="run NIST sclite instead, with reports in scoring_sclite/"
    )
    return options


@command
def main(argv=None):
    """Score what the options name."""
    args = parser().parse_args(argv)
    pairs = (args.ref, args.hyp), (args.exp, args.data)
    if sorted(sum(value is not None for value in pair) for pair in pairs) != [0, 2]:
        raise DldError("give either --ref and --hyp, or --exp and --data")
    if args.exp is None:
        score(Path(args.ref), Path(args.hyp), Path(args.output or Path(args.hyp).parent), args)
        return
    if args.output or args.lmwt or args.wip:
        raise DldError("--output, --lmwt and --wip go with --ref and --hyp; each decode of --exp has its own")
    from dld.scoring.decodes import decodes_of

    for folder in decodes_of(args.exp, args.data):
        score(Path(args.data) / "text", folder / "text", folder, args)


def score(ref, hyp, output, args):
    """Score one decode; print one line a unit."""
    from dld.scoring import kaldi, sclite

    writable_folder(output)
    if args.sclite:
        if (ref.name, hyp.name, output) != ("text", "text", hyp.parent):
            raise DldError("--sclite reads <data-dir>/text and <decode-dir>/text and writes next to the latter")
        print(f"{sclite.score(ref.parent, output, args.ref_filter, args.hyp_filter)} {output / 'scoring_sclite'}")
        return
    utt2spk = args.utt2spk
    if not utt2spk and (ref.parent / "utt2spk").is_file():
        utt2spk = ref.parent / "utt2spk"
    lmwt, wip = names_of(hyp.parent / "decode.json", args)
    options = kaldi.ScoreOptions(
        utt2spk=utt2spk,
        ref_filter=args.ref_filter,
        hyp_filter=args.hyp_filter,
        lmwt=lmwt,
        wip=wip,
        replicates=args.replicates,
        seed=args.seed,
    )
    for unit in args.units:
        total = kaldi.score(ref, hyp, output, dataclasses.replace(options, unit=unit))
        print(f"{total} {output / f'{kaldi.UNITS[unit]}_{lmwt}_{wip}'}")
    # Characters scored earlier must not stand next to words scored now from other hypotheses.
    if output == hyp.parent:
        kaldi.remove_stale_scores(output, hyp.name)


def names_of(decode, args):
    """Return the weight and the penalty that the files' names have, of the options or of a `decode.json`.

    Hypotheses may be of another program, whose `decode.json` is not a `DecodeRecord`.
    """
    from dld.scoring.kaldi import score_name

    about = read_record(decode, {}, "decode again (stage 8)") if decode.is_file() else {}
    names = []
    for name, default in (("lmwt", "0"), ("wip", "0.0")):
        given = getattr(args, name)
        where = f"{decode}: {name}" if given is None else f"--{name}"
        names.append(score_name(where, about.get(name, default) if given is None else given))
    return names


if __name__ == "__main__":
    sys.exit(main())
