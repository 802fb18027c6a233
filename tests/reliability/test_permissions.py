"""Files where folders are meant, folders that cannot be written, files that cannot be read: one line each."""

import errno
import shutil
import tempfile
from importlib import import_module
from pathlib import Path

import pytest

from dld.bin import command
from dld.data import kaldi
from dld.files import writable_file, writable_folder

TABLE = "permissions and files where folders are meant"
NOBODY = 65534
NEEDS_FOLDER = "is a file, a folder was expected"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The working folder, with a data directory, an experiment file, and a file in the way."""
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)


def fill(folder):
    (folder / "file").write_text("in the way\n")
    (folder / "data").mkdir()
    for name in ("train", "dev", "lang"):
        (folder / "data" / name).mkdir()
    (folder / "data/dev/text").write_text("a-1 one two\n")
    (folder / "data/dev/hyp").write_text("a-1 one\n")
    (folder / "data/dev/utt2dur").write_text("a-1 1.0\n")
    (folder / "data/dev/utt2spk").write_text("a-1 a\n")
    (folder / "data/dev/spk2utt").write_text("a a-1\n")
    (folder / "data/dev/wav.scp").write_text("a-1 nowhere.wav\n")
    return folder


def train(root, *options):
    return [root / "recipes/mini/hparams/base.yaml", root / "recipes/common/hparams/systems/ld.yaml", *options]


SCORE = ["--ref", "data/dev/text", "--hyp", "data/dev/hyp"]
TOKENIZER = ["--text", "data/dev/text", "--vocab-size", "12"]
#: What must not be written: command → arguments before the output.
OUTPUTS = {
    "train": ["--exp_dir"],
    "score": [*SCORE, "--output"],
    "report": ["--exp", "data", "--output"],
    "tokenizer": [*TOKENIZER, "--output"],
    "prepare mini": ["mini"],
    "prepare queen": ["queen", "--corpus", "file"],
    "prepare librispeech": ["librispeech", "--corpus", "data"],
    "prepare tedlium3": ["tedlium3", "--corpus", "data"],
    "data subset": ["subset", "--number", "1", "data/dev"],
    "data combine": ["combine"],
}


def arguments_of(root, case, output):
    name, _, action = case.partition(" ")
    before = train(root, "--data", "data") if name == "train" else []
    after = ["data/dev"] if action == "combine" else []
    return name, [*before, *OUTPUTS[case], output, *after]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file", f"file: {NEEDS_FOLDER}"),
        ("file/below", f"file/below: file {NEEDS_FOLDER}"),
        ("file/far/below", f"file/far/below: file {NEEDS_FOLDER}"),
        ("/proc/dld", "/proc/dld: cannot be made: /proc: "),
        ("x" * 300, "the name is too long"),
    ],
    ids=["file", "below", "far-below", "proc", "long"],
)
@pytest.mark.parametrize("case", OUTPUTS)
def test_an_output_folder_that_cannot_be_is_told_before_the_work(small, root, outcome, case, output, message):
    before = sorted(small.rglob("*"))
    name, arguments = arguments_of(root, case, output)
    found = outcome(name, arguments, table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message
    assert sorted(small.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lm", ["--text", "data/dev/text", "--output", "data"], "data: is a folder, a file was expected"),
        ("lm", ["--text", "data/dev/text", "--output", "file/x.arpa"], f"file: {NEEDS_FOLDER}"),
        ("lm", ["--text", "data", "--output", "x.arpa"], "data: is a folder, a file was expected"),
        ("score", ["--ref", "data", "--hyp", "data/dev/hyp"], "data: is a folder, a file was expected"),
        ("score", ["--ref", "data/dev/text", "--hyp", "data/dev"], "data/dev: is a folder, a file was expected"),
        ("score", ["--ref", "file/text", "--hyp", "data/dev/hyp"], "file/text"),
        ("tokenizer", ["--text", "data/dev", "--output", "o"], "data/dev: is a folder, a file was expected"),
        ("report", ["--results", "data", "--output", "o"], "data: is a folder, a file was expected"),
        ("report", ["--exp", "data", "--output", "o", "--notes", "data"], "data: is a folder, a file was expected"),
        ("data", ["fix", "file"], f"file: {NEEDS_FOLDER}"),
        ("data", ["validate", "file"], "file"),
        ("data", ["stats", "file"], "file"),
        ("data", ["subset", "--ids", "data", "data/dev", "o"], "data: is a folder, a file was expected"),
        ("decode", ["--exp", "file", "--data", "data/dev"], "file"),
        ("gate_table", ["--exp", "file", "--data", "data/dev"], "file"),
    ],
)
def test_a_file_where_a_folder_is_meant_and_the_other_way_round(small, outcome, name, arguments, message):
    found = outcome(name, arguments, table=TABLE)
    assert found.kind == "error", found.message
    assert message in found.message
    assert not (small / "o").exists()


@pytest.mark.parametrize(
    ("name", "options", "work"),
    [
        ("decode", ["--output", "file"], "find_texts"),
        ("decode", ["--output", "file/below"], "find_texts"),
        ("tune_lm", ["--output", "data", "--lm", "file"], "run_depth"),
        ("tune_lm", ["--output", "file/x.json", "--lm", "file"], "run_depth"),
    ],
)
def test_what_cannot_be_written_is_told_before_a_network_runs(
    small, trained_pair, tiny_corpus, outcome, monkeypatch, name, options, work
):
    def run(*_, **__):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(import_module(f"dld.bin.{name}"), work, run)
    data = kaldi.subset(tiny_corpus / "dev", small / "two", number=2) and small / "two"
    arguments = ["--exp", trained_pair / "static", "--data", data, *options]
    found = outcome(name, arguments, table=TABLE)
    assert found.kind == "error", found.message
    assert options[1] in found.message


# ---------------------------------------------------------------- without the rights of root


@pytest.fixture
def public():
    """A folder that everybody may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="dld-permissions-"))
    folder.chmod(0o755)
    yield fill(folder)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


READ_ONLY = [(case, "closed/out", "closed/out: cannot be made: closed: no permission") for case in OUTPUTS]
READ_ONLY += [(case, "closed", "closed: no permission") for case in OUTPUTS]


@pytest.mark.parametrize(("case", "output", "message"), READ_ONLY)
def test_a_folder_without_permission_to_write(public, root, unprivileged, record_property, case, output, message):
    (public / "closed").mkdir(mode=0o555)
    (public / "recipes").symlink_to(root / "recipes")
    shutil.copytree(root / "recipes/mini/hparams", public / "mini/hparams")
    shutil.copytree(root / "recipes/common/hparams", public / "common/hparams")
    (public / "recipes").unlink()
    name, arguments = arguments_of(public, case, output)
    arguments = [str(argument).replace(f"{public}/recipes/", f"{public}/") for argument in arguments]
    status, text = unprivileged(name, arguments, public)
    record_property("outcome", [TABLE, "error" if (status, text.count("\n")) == (1, 1) else "traceback"])
    assert status == 1, text
    assert text.count("\n") == 1
    assert message in text
    assert list((public / "closed").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "closed", "message"),
    [
        ("train", ["x.yaml"], "x.yaml", "x.yaml: no permission"),
        (
            "train",
            ["y.yaml"],
            "x.yaml",
            "(read for y.yaml)",
        ),
        ("score", [*SCORE, "--output", "open"], "data/dev/text", "data/dev/text: no permission"),
        ("score", SCORE, "data/dev", "no permission"),
        ("tokenizer", [*TOKENIZER, "--output", "open/lang"], "data/dev/text", "data/dev/text: no permission"),
        ("lm", ["--text", "data/dev/text", "--output", "open/x.arpa"], "data/dev/text", "data/dev/text: no permission"),
        ("lm", ["--text", "data/dev/text", "--output", "shut/x.arpa"], "shut", "no permission"),
        ("report", ["--exp", "data", "--output", "open/o", "--notes", "file"], "file", "file: no permission"),
        ("report", ["--exp", "data", "--output", "open/o"], "data", "data: no decode directories"),
        ("decode", ["--exp", "shut", "--data", "data/dev"], "shut", "no permission"),
        ("data", ["validate", "data/dev"], "data/dev/wav.scp", "data/dev/wav.scp: no permission"),
        ("data", ["validate", "data/dev"], "data/dev", "no permission"),
        ("data", ["stats", "data/dev"], "data/dev/text", "data/dev/text: no permission"),
        ("data", ["fix", "data/dev"], "data/dev", "data/dev: no permission"),
        ("data", ["subset", "--number", "1", "data/dev", "open/o"], "data/dev/wav.scp", "wav.scp: no permission"),
        ("data", ["combine", "open/o", "data/dev"], "data/dev/utt2spk", "utt2spk: no permission"),
        ("data", ["subset", "--ids", "file", "data/dev", "open/o"], "file", "file: no permission"),
        ("prepare", ["queen", "open/o", "--corpus", "file"], "file", "file: no permission"),
    ],
)
def test_what_cannot_be_read(public, unprivileged, record_property, name, arguments, closed, message):
    (public / "open").mkdir()
    (public / "open").chmod(0o777)
    (public / "shut").mkdir()
    (public / "x.yaml").write_text("system: x\n")
    (public / "y.yaml").write_text("extends: x.yaml\n")
    (public / closed).chmod(0)
    status, text = unprivileged(name, arguments, public)
    (public / closed).chmod(0o755)
    # `validate` lists its problems above the line of the error.
    clear = status == 1 and text.count(": error: ") == 1 and "Traceback" not in text
    record_property("outcome", [TABLE, "error" if clear else "traceback"])
    assert clear, text
    assert message in text
    assert list((public / "open").iterdir()) == []


# ---------------------------------------------------------------- the contract itself


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "exp"), "exp: no permission; change it (chmod)"),
        (OSError(errno.EROFS, "Read-only file system", "exp"), "exp: the file system is read-only; give another path"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk; make room and start"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "exp"), "exp: is a folder, a file was expected"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "exp/x"), "exp/x: is a file, or has one on its way"),
        (FileNotFoundError(errno.ENOENT, "No such file", "exp"), "exp: no such file or folder"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "exp"), "exp: the name is too long; give a shorter one"),
        (OSError(errno.EMFILE, "Too many open files", 7), "too many open files; raise the limit (ulimit -n)"),
        (OSError(errno.EFBIG, "File too large"), "larger than is allowed here (see ulimit -f)"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"), "b: Invalid cross-device link"),
        (OSError("of a library"), "of a library"),
        (MemoryError(), "not enough memory; use shorter batches"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_errors_of_the_system_are_one_line(capsys, error, message):
    @command
    def main(argv=None):
        raise error

    assert main([]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("dld: error: ")
    assert message in text


def test_other_errors_keep_their_traceback():
    @command
    def main(argv=None):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        main([])


def test_a_stop_by_the_user_has_its_own_status(capsys):
    @command
    def main(argv=None):
        raise KeyboardInterrupt

    assert main([]) == 130
    assert capsys.readouterr().err == ""


def test_finding_out_makes_nothing(tmp_path):
    assert writable_folder(tmp_path / "a/b/c") == tmp_path / "a/b/c"
    assert writable_file(tmp_path / "a/b.json") == tmp_path / "a/b.json"
    assert writable_folder(tmp_path) == tmp_path
    (tmp_path / "link").symlink_to(tmp_path)
    assert writable_folder(tmp_path / "link") == tmp_path / "link"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
