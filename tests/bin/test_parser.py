"""The parser of all commands: the defaults that its help names, and its errors."""

import pytest

from dld.bin import boolean
from dld.bin.options import Parser, of
from dld.checks import COUNT, POSITIVE
from dld.errors import UsageError


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"default": 3, "type": of(COUNT)}, "what it does (default: 3)"),
        ({"default": False, "type": boolean}, "what it does (default: false)"),
        ({"default": ["word", "char"], "nargs": "+"}, "what it does (default: word char)"),
        ({"default": "50%"}, "what it does (default: 50%)"),
        ({}, "what it does"),
        ({"default": ""}, "what it does"),
        ({"action": "store_true"}, "what it does"),
        ({"default": 3, "help": "many (default: three)"}, "many (default: three)"),
        ({"default": 3, "help": "many (%(default)s)"}, "many (3)"),
    ],
)
def test_the_help_of_an_option_ends_with_its_default(settings, expected):
    parser = Parser(prog="dld some")
    parser.add_argument("--option", **{"help": "what it does", **settings})
    assert parser.format_help().rstrip().endswith(f" {expected}")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(boolean, "true|false"), (of(COUNT), "N"), (of(POSITIVE), "X"), (None, "OPTION")],
    ids=["boolean", "whole", "number", "text"],
)
def test_the_help_shows_what_kind_of_value_an_option_takes(kind, expected):
    parser = Parser(prog="dld some")
    parser.add_argument("--some-option", type=kind)
    assert f"[--some-option {expected}]" in parser.format_usage()


def test_texts_of_several_lines_keep_them():
    epilog = "keys:\n  lr   learning rate\n  seed  of all that is drawn"
    assert epilog in Parser(prog="dld some", epilog=epilog).format_help()


def test_errors_name_the_help_of_the_sub_command():
    parser = Parser(prog="dld some")
    action = parser.add_subparsers().add_parser("thing")
    action.add_argument("--number", type=of(COUNT))
    with pytest.raises(UsageError, match=r"argument --number: '0' is not allowed; .* \(see dld some thing --help\)"):
        parser.parse_args(["thing", "--number", "0"])
    with pytest.raises(UsageError, match="unrecognized arguments: --num 1"):
        parser.parse_args(["thing", "--num", "1"])
