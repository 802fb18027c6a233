"""The catalogue of corpora: one package each with the same functions, found by `dld prepare`."""

import subprocess
import sys
from dataclasses import fields

import pytest

from dld.bin.prepare import main, make_parser
from dld.data import corpora, kaldi
from dld.data.corpora.settings import from_arguments
from dld.errors import DldError

EGS = {"librispeech": "egs_data/librispeech", "tedlium3": "egs_data/tedlium3"}


@pytest.mark.parametrize("name", corpora.names())
def test_every_corpus_has_the_same_functions_and_its_options_are_declared_once(name):
    corpus = corpora.load(name)
    arguments = make_parser().parse_args([name, "data"])
    assert from_arguments(corpus.Options, arguments) == corpus.Options()
    assert set(vars(arguments)) == {"name", "destination", *(each.name for each in fields(corpus.Options))}
    assert corpus.__doc__.partition("\n")[0].endswith(".")
    assert callable(corpus.prepare)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in corpora.names())])
def test_help_imports_nothing_that_takes_long(arguments):
    heavy = ("torch", "speechbrain", "scipy", "matplotlib", "transformers", "numpy", "sentencepiece", "soundfile")
    script = f"""
import sys
from dld.bin.prepare import main
try:
    main({arguments})
except SystemExit:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert (arguments[0] if len(arguments) > 1 else "librispeech") in done.stdout


def test_a_folder_of_its_own_is_all_that_a_new_corpus_needs(tmp_path, monkeypatch, capsys):
    (tmp_path / "spoken").mkdir()
    (tmp_path / "spoken/__init__.py").write_text(
        '"""Spoken: one line of text."""\n'
        "from dataclasses import dataclass\n"
        "from dld.data.corpora import Prepared\n"
        "from dld.data.corpora.settings import Source, add_settings\n"
        "@dataclass(frozen=True)\n"
        "class Options(Source):\n"
        "    pass\n"
        "def add_arguments(parser):\n"
        "    add_settings(parser, Options)\n"
        "def prepare(destination, options):\n"
        "    return Prepared({name: {'utterances': 1} for name in options.sets}, after=(str(options.corpus),))\n"
    )
    monkeypatch.setattr(corpora, "__path__", [*corpora.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "dld.data.corpora.spoken", raising=False)
    assert main(["spoken", str(tmp_path / "data"), "--corpus", "here", "--sets", "test"]) == 0
    assert capsys.readouterr().out == "      utterances\ntest           1\nhere\n"


def test_an_unknown_corpus_is_an_error_with_the_known_ones(tmp_path, capsys):
    assert main(["librispeach", str(tmp_path / "data")]) == 2
    assert "invalid choice: 'librispeach'" in capsys.readouterr().err
    with pytest.raises(DldError, match="did you mean 'librispeech'"):
        corpora.load("librispeach")


@pytest.mark.parametrize(
    ("name", "removed", "sets", "written"),
    [
        ("librispeech", ["train-*", "dev-*"], "test", {"test-clean", "test-other"}),
        ("librispeech", ["train-*"], "dev test", {"dev", "dev-clean", "dev-other", "test-clean", "test-other"}),
        ("tedlium3", ["data", "legacy/train"], "test", {"test"}),
        ("tedlium3", ["data", "legacy/train", "legacy/test"], "dev", {"dev"}),
    ],
)
def test_sets_are_prepared_without_the_others_and_equal_those_of_the_whole(
    root, tmp_path, name, removed, sets, written
):
    there = root / EGS[name]
    part = tmp_path / "part"
    [source] = there.iterdir()
    part.mkdir()
    gone = {path for pattern in removed for path in source.glob(pattern)}
    for path in source.rglob("*"):
        if path.is_file() and not gone & {path, *path.parents}:
            (part / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (part / path.relative_to(source)).symlink_to(path)
    options = ["--allow-partial", "true"]
    assert main([name, str(tmp_path / "some"), "--corpus", str(part), "--sets", sets, *options]) == 0
    assert main([name, str(tmp_path / "all"), "--corpus", str(source), *options]) == 0
    assert {path.name for path in (tmp_path / "some").iterdir()} == written
    for folder in written:
        for table in (tmp_path / "all" / folder).iterdir():
            text = (tmp_path / "some" / folder / table.name).read_text()
            assert text.replace(str(part), str(source)) == table.read_text()
        assert kaldi.validate(tmp_path / "some" / folder) == []


@pytest.mark.parametrize("name", EGS)
def test_an_unknown_kind_of_set_is_an_error(root, tmp_path, capsys, name):
    assert main([name, str(tmp_path), "--corpus", str(root / EGS[name]), "--sets", "tests"]) == 2
    assert (
        "argument --sets: 'tests' is not allowed; it must be words out of train, dev, test" in capsys.readouterr().err
    )
