"""Options of a corpus as a dataclass, and the same as options of a command: declared once."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from dld.checks import FLAG, Choice, Text, Whole, complaint
from dld.errors import DldError, UsageError
from dld.files import writable_folder

SETS = ("train", "dev", "test")

Record = TypeVar("Record")


class Words:
    """Kind of an option that takes some of several words, separated by commas or spaces, as a tuple."""

    def __init__(self, *words: str):
        self.words = words

    def accepts(self, value: object) -> bool:
        """Return whether a value is allowed."""
        return isinstance(value, (tuple, list)) and set(value) <= set(self.words)

    @staticmethod
    def read(text: str) -> tuple[str, ...]:
        """Return the words of a text."""
        return tuple(text.replace(",", " ").split())

    def __str__(self):
        """Return the kind as messages name it."""
        return f"words out of {', '.join(self.words)}, separated by commas or spaces"


def setting(default: Any, kind: object, text: str, metavar: str | None = None) -> Any:
    """Return a dataclass field that is also a command-line option.

    Parameters
    ----------
    default
    kind
        What is allowed: one of `dld.checks`, or `Words`.
    text : str
        Help.
    metavar : str, optional
        Placeholder of the value in the help.
    """
    return field(default=default, metadata={"kind": kind, "help": text, "metavar": metavar})


def sets_setting(note: str) -> Any:
    """Return the setting that says which kinds of data directories are prepared; `note` ends its help."""
    return setting(SETS, Words(*SETS), f"kinds of sets to prepare; {note}", "A,B")


def add_settings(parser: argparse.ArgumentParser, record: type) -> None:
    """Add an option for each field of a dataclass that is a `setting`.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_settings(parser, Source)
    >>> parser.parse_args(["--sets", "dev,test"]).sets
    ('dev', 'test')
    """
    for each in fields(record):
        kind = each.metadata["kind"]
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=_reader(kind),
            default=each.default,
            choices=kind.words if isinstance(kind, Choice) else None,
            metavar=each.metadata["metavar"],
            help=each.metadata["help"],
        )


def from_arguments(record: Callable[..., Record], arguments: argparse.Namespace) -> Record:
    """Return the dataclass that parsed arguments describe."""
    return record(**{each.name: getattr(arguments, each.name) for each in fields(record)})  # type: ignore[arg-type]


def check_settings(options: Any) -> None:
    """Raise a `DldError` where a setting has a value that is neither its default nor of its kind; text is not checked.

    Examples
    --------
    >>> check_settings(Source(sets=("tests",)))
    Traceback (most recent call last):
    dld.errors.DldError: sets is ('tests',); it must be words out of train, dev, test, separated by commas or spaces
    """
    for each in fields(options):
        value, kind = getattr(options, each.name), each.metadata["kind"]
        if value == each.default or isinstance(kind, Text):
            continue
        wrong = complaint(each.name.replace("_", "-"), value, kind)
        if wrong:
            raise DldError(wrong)


def _reader(kind):
    """Return the function that reads an option's text."""
    if isinstance(kind, Text):
        return lambda text: text or None  # scripts pass empty values for options that their user has not set
    if isinstance(kind, Choice):
        return str
    convert = kind.read if isinstance(kind, Words) else int if isinstance(kind, Whole) else float

    def read(text):
        if kind is FLAG:
            if text not in ("true", "false"):
                raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
            return text == "true"
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not kind.accepts(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it must be {kind}")
        return value

    return read


@dataclass(frozen=True)
class Source:
    """Where a corpus that is distributed comes from, and what is made of it; extended by the options of such corpora.

    Parameters
    ----------
    corpus : str or Path, optional
    downloads : str or Path, optional
        Read only where there is no `corpus`.
    allow_partial : bool
    sets : tuple of str
        Kinds of data directories.
    """

    corpus: str | Path | None = setting(
        None, Text(), "the corpus as it is distributed: its folder, or the one that holds it", "DIR"
    )
    downloads: str | Path | None = setting(
        None, Text(), "without --corpus: download to this folder what is not there yet", "DIR"
    )
    allow_partial: bool = setting(False, FLAG, "leave out, with a count, what is missing or faulty", "true|false")
    sets: tuple[str, ...] = sets_setting("without train nothing of it is needed or read")

    def folder(self, archives: Iterable[tuple[str, str]]) -> Path:
        """Return the folder of the corpus, after a download of its archives where `downloads` is set.

        Parameters
        ----------
        archives : iterable of (str, str)
            Address and SHA-256.
        """
        if self.corpus:
            return Path(self.corpus)
        from dld.data.download import download_all

        downloads = self._downloads()
        download_all(archives, downloads)
        return downloads

    def repository(self, address: str, commit: str) -> Path:
        """Return the folder of the corpus, a clone of its git repository where there is no `corpus`.

        Parameters
        ----------
        address : str
        commit : str
            Hash of what is checked out.
        """
        if self.corpus:
            return Path(self.corpus)
        from dld.data.download import clone

        return clone(address, commit, self._downloads() / address.rpartition("/")[2])

    def _downloads(self) -> Path:
        if not self.downloads:
            raise UsageError("--corpus DIR or --downloads DIR is needed: the corpus, or a folder to download it to")
        return writable_folder(self.downloads)
