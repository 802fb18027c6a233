"""Make, check, repair, count, cut and join Kaldi data directories."""

import json
import sys

from dld.bin import add_pipes_option, boolean, command
from dld.bin.options import Parser, of
from dld.checks import COUNT
from dld.errors import DldError
from dld.files import writable_folder


def _parser():
    parser = Parser(prog="dld data", description="Work on Kaldi data directories.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    action = actions.add_parser("validate", help="check directories by the rules of validate_data_dir.sh, audio too")
    add_pipes_option(action)
    action.add_argument("--audio", type=boolean, default=True, help="open the recordings")
    action.add_argument(
        "--decode",
        type=boolean,
        default=False,
        help="decode every recording to its end, which finds what headers do not state; takes longer",
    )
    action.add_argument("--text", type=boolean, default=True, help="text must be there")
    _add_empty_option(action, "accept utterances")
    action.add_argument("--per-kind", type=of(COUNT), default=10, metavar="N", help="problems shown of each kind")
    action.add_argument("dirs", nargs="+", metavar="DIR")
    action.set_defaults(run=_validate)

    action = actions.add_parser("fix", help="sort, keep what agrees, remake spk2utt and utt2dur; old files in .backup")
    add_pipes_option(action)
    action.add_argument(
        "--audio", type=boolean, default=True, help="read durations from the recordings, not from the tables"
    )
    _add_empty_option(action, "keep utterances")
    action.add_argument("dirs", nargs="+", metavar="DIR")
    action.set_defaults(run=_fix)

    action = actions.add_parser("stats", help="count utterances, speakers, hours and words")
    action.add_argument("--json", type=boolean, default=False, help="print a JSON list, one object per directory")
    action.add_argument("dirs", nargs="+", metavar="DIR")
    action.set_defaults(run=_stats)

    action = actions.add_parser("subset", help="write a part of a directory as another one")
    choice = action.add_mutually_exclusive_group(required=True)
    choice.add_argument("--number", type=of(COUNT), metavar="N", help="N utterances, evenly spread")
    choice.add_argument("--first", type=of(COUNT), metavar="N", help="the first N utterances")
    choice.add_argument("--shortest", type=of(COUNT), metavar="N", help="the N shortest utterances")
    choice.add_argument("--speakers", type=of(COUNT), metavar="N", help="all utterances of N speakers, evenly spread")
    choice.add_argument("--ids", metavar="FILE", help="the utterances that begin the lines of FILE")
    action.add_argument("source", metavar="SRC")
    action.add_argument("destination", metavar="DEST")
    action.set_defaults(run=_subset)

    action = actions.add_parser("import", help="make a directory of a table of audio files, texts and speakers")
    action.add_argument("table", metavar="FILE", help="FILE.tsv or .csv with a header, or .jsonl, one object a line")
    action.add_argument("destination", metavar="DIR", help="data directory to write")
    action.add_argument("--audio-root", metavar="DIR", help="where relative paths start (default: FILE's folder)")
    action.add_argument("--text", type=boolean, default=True, help="false: there is no text, for what is only decoded")
    action.add_argument(
        "--quotes", type=boolean, default=True, help="quotes enclose fields; false: they are characters"
    )
    action.add_argument("--allow-partial", type=boolean, default=False, help="leave out, with a count, what is faulty")
    _add_empty_option(action, "take rows")
    action.set_defaults(run=_import)

    action = actions.add_parser("archive", help="write a copy whose recordings are entries of one Kaldi archive")
    add_pipes_option(action)
    action.add_argument(
        "--format",
        default="flac",
        choices=("flac", "wav"),
        help="wav, twice as large, is for Kaldi's own tools",
    )
    action.add_argument("source", metavar="SRC")
    action.add_argument("destination", metavar="DEST")
    action.set_defaults(run=_archive)

    action = actions.add_parser("combine", help="write the utterances of several directories as one")
    action.add_argument("destination", metavar="DEST")
    action.add_argument("sources", nargs="+", metavar="SRC")
    action.set_defaults(run=_combine)
    return parser


def _add_empty_option(action, what):
    action.add_argument(
        "--allow-empty",
        type=boolean,
        default=False,
        help=f"{what} with an empty text, for test sets: scoring counts them",
    )


def _validate(args):
    from dld.data import kaldi

    if args.decode and not args.audio:
        raise DldError("--decode true reads the recordings and --audio false does not; give one of them")
    failed = 0
    for folder in args.dirs:
        problems = kaldi.validate(folder, args.audio, args.text, args.per_kind, args.decode, args.allow_empty)
        for problem in problems:
            print(problem, file=sys.stderr)
        if not problems:
            print(f"{folder}: valid")
        failed += bool(problems)
    if failed:
        raise DldError(f"{failed} of {len(args.dirs)} directories not valid; `dld data fix DIR` repairs most problems")


def _fix(args):
    from dld.data import kaldi

    for folder in args.dirs:
        writable_folder(folder)
        print(kaldi.fix(folder, args.audio, args.allow_empty))


def _stats(args):
    from dld.data import kaldi

    found = [kaldi.stats(folder) for folder in args.dirs]
    if args.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    columns = [_flat(entry) for entry in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    width = max(map(len, names))
    widths = [max(len(str(value)) for value in column.values()) for column in columns]
    for name in names:
        values = (str(column.get(name, "-")).rjust(w) for column, w in zip(columns, widths, strict=True))
        print(name.ljust(width), *values, sep="  ")


def _flat(entry):
    flat = {}
    for name, value in entry.items():
        if isinstance(value, dict):
            flat.update({f"{name} {key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _subset(args):
    from dld.data import kaldi

    writable_folder(args.destination)
    choice = {name: getattr(args, name) for name in ("number", "first", "shortest", "speakers")}
    if args.ids is not None:
        choice["ids"] = kaldi.read_table(args.ids)
    chosen = kaldi.subset(args.source, args.destination, **choice)
    print(f"{args.destination}: {len(chosen)} utterances of {args.source}")


def _import(args):
    from dld.data import kaldi
    from dld.data.manifest import Options, read_manifest

    writable_folder(args.destination)
    names = ("audio_root", "text", "quotes", "allow_empty", "allow_partial")
    utterances = read_manifest(args.table, Options(**{name: getattr(args, name) for name in names}))
    kaldi.write(args.destination, utterances)
    speakers = len({u.speaker for u in utterances})
    hours = sum(u.seconds for u in kaldi.load(args.destination, need=("utt2dur",))) / 3600
    print(f"{args.destination}: {len(utterances)} utterances of {speakers} speakers, {hours:.2f} h, of {args.table}")


def _archive(args):
    from dld.data import kaldi

    writable_folder(args.destination)
    utterances = kaldi.archive(args.source, args.destination, args.format)
    print(f"{args.destination}: {len(utterances)} utterances of {args.source}, audio in audio.ark")


def _combine(args):
    from dld.data import kaldi

    writable_folder(args.destination)
    utterances = kaldi.combine(args.destination, args.sources)
    print(f"{args.destination}: {len(utterances)} utterances of {len(args.sources)} directories")


@command
def main(argv=None):
    """Run the command; see `dld data --help`."""
    args = _parser().parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
