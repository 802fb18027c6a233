"""Broken tables through the commands that read them: each input has one stated outcome.

`error` is one line on standard error that matches the pattern; `accepted` has its reason as a comment or in the case.
"""

import gzip
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from dld.data import kaldi
from dld.data.kaldi import Utterance

TABLE = "broken tables"
TEXTS = {"anna-1": "one two three", "anna-2": "four", "bert-1": "five five six"}
BOM = b"\xef\xbb\xbf"


def _noise(seconds):
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000))).astype(np.float32)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A valid directory of recordings (`plain`) and one of segments (`talks`), which the cases copy."""
    folder = tmp_path_factory.mktemp("sources")
    utterances, segments = [], []
    soundfile.write(folder / "talk.wav", _noise(4), 16000)
    for i, (key, text) in enumerate(TEXTS.items()):
        soundfile.write(folder / f"{key}.wav", _noise(1 + i / 10), 16000)
        utterances.append(Utterance(key, key[:4], text, f"{folder}/{key}.wav"))
        segments.append(Utterance(key, "talk", text, f"{folder}/talk.wav", i, i + 1.0, recording_id="talk"))
    kaldi.write(folder / "plain", utterances)
    kaldi.write(folder / "talks", segments)
    # Ids of segments need not begin with the speaker; that is only logged.
    return folder


@pytest.fixture
def copy(sources, tmp_path):
    """Copy a source and change the bytes of one of its tables."""

    def make(name, table, change):
        shutil.copytree(sources / name, tmp_path / "data")
        path = tmp_path / "data" / table
        before = path.read_bytes() if path.exists() else b""
        after = change(before)
        assert after != before, "the case changes nothing"
        path.write_bytes(after)
        return tmp_path / "data"

    return make


def put(old, new):
    """Replace bytes; str is UTF-8."""
    old, new = (x.encode() if isinstance(x, str) else x for x in (old, new))
    return lambda data: data.replace(old, new, 1)


def everywhere(old, new):
    return lambda data: data.replace(old, new)


# (name of the case, directory, table, change, problem that validate names, utterances that fix keeps or why it refuses)
CASES = [
    ("bom text", "plain", "text", lambda d: BOM + d, r"text: begins with a byte order mark", 3),
    ("bom wav.scp", "plain", "wav.scp", lambda d: BOM + d, r"wav.scp: begins with a byte order mark", 3),
    ("bom utt2spk", "plain", "utt2spk", lambda d: BOM + d, r"utt2spk: begins with a byte order mark", 3),
    ("bom segments", "talks", "segments", lambda d: BOM + d, r"segments: begins with a byte order mark", 3),
    ("bom in the middle", "plain", "text", put(b"anna-2", BOM + b"anna-2"), r"text:2: .*byte order mark", 3),
    ("crlf text", "plain", "text", everywhere(b"\n", b"\r\n"), r"text: has Windows line ends", 3),
    ("crlf wav.scp", "plain", "wav.scp", everywhere(b"\n", b"\r\n"), r"wav.scp: has Windows line ends", 3),
    ("no final newline", "plain", "text", lambda d: d[:-1], r"text: its last line has no line end", 3),
    ("nul byte", "plain", "text", put(b"four", b"fo\0ur"), r"text:2: has a NUL byte", r"NUL byte"),
    ("nul id", "plain", "utt2spk", put(b"anna-2", b"anna\0-2"), r"utt2spk:2: has a NUL byte", r"NUL byte"),
    ("utf-16", "plain", "text", lambda d: d.decode().encode("utf-16"), r"text: is UTF-16", r"UTF-16"),
    ("latin-1", "plain", "text", put(b"four", b"caf\xe9"), r"text:2: not UTF-8", r"not UTF-8"),
    ("nbsp in id", "plain", "text", put("anna-2", "anna\u00a02"), r"text:2: the key .* has the whitespace U\+00A0", 2),
    ("u+2028 in id", "plain", "text", put("anna-2", "anna\u20282"), r"text:2: the key .*U\+2028", 2),
    ("zero width in id", "plain", "text", put("anna-2", "anna\u200b-2"), r"text:2: the key .*U\+200B", 2),
    ("bell in id", "plain", "wav.scp", put("anna-2 ", "anna\a-2 "), r"wav.scp:2: the key .*U\+0007", 2),
    ("nbsp in speaker", "plain", "utt2spk", put("-2 anna", "-2 an\u00a0na"), r"utt2spk:2: .*U\+00A0 in its value", 2),
    ("nbsp in text", "plain", "text", put("five five", "five\u00a0five"), r"text:3: .*U\+00A0 in its text", 3),
    ("u+2028 in text", "plain", "text", put("five five", "five\u2028five"), r"text:3: .*U\+2028", 3),
    ("tab and spaces", "plain", "text", put("one two", "one \t two"), None, 3),  # accepted: Kaldi splits there too
    ("control in text", "plain", "text", put("four", "fo\aur"), r"text:2: .*control character U\+0007", 2),
    ("control in wav.scp", "plain", "wav.scp", put(".wav", "\x1b.wav"), r"wav.scp:1: .*U\+001B in its value", 2),
    ("duplicate", "plain", "text", lambda d: d + b"anna-2 other\n", r"text:4: anna-2 is also in line 2", 3),
    ("unsorted", "plain", "text", lambda d: b"".join(d.splitlines(True)[::-1]), r"text:2: .* comes after", 3),
    ("empty text table", "plain", "text", lambda d: b"", r"text: is empty", r"no utterance would be left"),
    ("empty utt2spk", "plain", "utt2spk", lambda d: b"", r"utt2spk: is empty", r"no utterance would be left"),
    ("empty utt2dur", "plain", "utt2dur", lambda d: b"", r"utt2dur: is empty", 3),
    ("empty line", "plain", "text", put("anna-2", "\nanna-2"), r"text:2: the line is empty", 3),
    ("leading space", "plain", "text", put("anna-2", " anna-2"), r"text:2: .*begins with a space", 2),
    ("empty reference", "plain", "text", put("anna-2 four", "anna-2"), r"text:2: anna-2 has an empty text", 2),
    ("<unk>", "plain", "text", put("four", "fo<unk>ur"), r"text:2: .*reserved word <unk>", 2),
    ("<s>", "plain", "text", put("four", "<s> four"), r"text:2: .*reserved word <s>", 2),
    ("<blk>", "plain", "text", put("four", "<blk>"), r"text:2: .*reserved word <blk>", 2),
    ("<eps>", "plain", "text", put("four", "<eps>"), r"text:2: .*reserved word <eps>", 2),
    ("#0", "plain", "text", put("four", "#0"), r"text:2: .*reserved word #0", 2),
    ("long line", "plain", "text", put("four", "four " * 200000), None, 3),  # accepted: long, but words
    ("long id", "plain", "text", put("anna-2", "x" * 100000), r"text:2: x{60}.* comes after|x+.* is not in", 2),
    *(
        (f"utt2dur {value}", "plain", "utt2dur", put("anna-2 1.1", f"anna-2 {value}"), rf"utt2dur:2: .*{why}", 3)
        for value, why in (
            ("nan", "duration nan"),
            ("inf", "duration inf"),
            ("1e400", "duration 1e400"),
            ("-1", "duration -1"),
            ("0", "duration 0"),
            ("0x1", "duration 0x1"),
            ("1,1", "duration 1,1"),
            ("1_1", "duration 1_1"),
            ("\u0661", "duration \u0661"),
            ("99999999", "duration 99999999"),
            ("9" * 500, "duration 9+…"),
            ("1.1 2", "2 fields after it"),
        )
    ),
    *(
        (f"segments {times}", "talks", "segments", put("talk 1 2", f"talk {times}"), rf"segments:2: .*{why}", 2)
        for times, why in (
            ("2 1", "starts at 2 s and ends at 1 s"),
            ("1 1", "starts at 1 s and ends at 1 s"),
            ("nan 2", "not numbers"),
            ("1 inf", "not numbers"),
            ("1 1e400", "starts at 1 s and ends at 1e400 s"),
            ("1,0 2,0", "not numbers"),
            ("-1 2", "starts at -1 s"),
            ("1 -2", "ends at -2 s"),
            ("0x1 2", "not numbers"),
            ("1 1.00001", "shorter than a frame"),
            ("1 9", "runs from 1 s to 9 s"),
            ("9 -1", "runs from 9 s"),
            ("1", "2 fields"),
        )
    ),
    ("fifth field", "talks", "segments", put("talk 1 2", "talk 1 2 1"), r"fifth field, a channel", r"sox FILE"),
    ("unknown recording", "talks", "segments", put("talk 1 2", "other 1 2"), r"other, which is not in wav.scp", 2),
    ("id not in text", "plain", "text", put("anna-2 four\n", ""), r"anna-2 is not in text", 2),
    ("id with path", "plain", "text", put("anna-2", "../anna-2"), r"\.\./anna-2 is not in utt2spk", 2),
    ("gender", "plain", "spk2gender", lambda d: b"anna x\nbert m\n", r"gender x", 3),
    ("reco2dur", "talks", "reco2dur", lambda d: b"talk 1e400\n", r"duration 1e400", 3),
]


@pytest.mark.parametrize(("name", "source", "table", "change", "problem", "kept"), CASES, ids=[c[0] for c in CASES])
def test_validate_names_it_and_what_fix_keeps_is_valid(outcome, copy, name, source, table, change, problem, kept):
    data = copy(source, table, change)
    found = outcome("data", ["validate", data], TABLE)
    if problem is None:
        assert found.kind == "accepted"
    else:
        assert found.kind == "error" and re.search(problem, found.err), found
    repaired = outcome("data", ["fix", data], TABLE)
    if isinstance(kept, str):
        assert repaired.kind == "error" and re.search(kept, repaired.message), repaired
        return
    assert repaired.kind == "accepted", repaired
    assert f"kept {kept} of" in repaired.out
    again = outcome("data", ["validate", data], TABLE)
    assert again.kind == "accepted", again
    assert len(kaldi.load(data)) == kept
    assert all(u.id.isprintable() for u in kaldi.load(data))


# (name, reference, hypotheses, decode.json, more options, what the error says; None: accepted)
REF = "a-1 one two\na-2 three\n"
SCORES = [
    ("missing id", REF, "a-1 one two\n", None, (), r"1 missing \(a-2\)"),
    ("extra id", REF, REF + "a-3 x\n", None, (), r"1 not in the reference \(a-3\)"),
    ("duplicate id", REF, REF + "a-1 x\n", None, (), r"text:3: a-1 is also in line 1"),
    ("empty hypotheses", REF, "", None, (), r"text: is empty"),
    ("empty reference", "", REF, None, (), r"text: is empty"),
    ("no reference words", "a-1\na-2\n", REF, None, (), r"no utterance has any words"),
    ("bom", REF, "\ufeff" + REF, None, (), None),  # accepted: the mark is left out
    ("bom and filter", "\ufeff" + REF, REF, None, ("--ref-filter", "cat"), None),
    ("crlf", REF.replace("\n", "\r\n"), REF, None, (), None),  # accepted: read as line ends
    ("nbsp in id", REF, REF.replace("a-1", "a\u00a01"), None, (), r"text:1: the key .* has the whitespace U\+00A0"),
    ("filter fails", REF, REF, None, ("--ref-filter", "exit 3"), r"'exit 3' failed with status 3"),
    ("filter loses lines", REF, REF, None, ("--ref-filter", "head -1"), r"1 missing \(a-2\)"),
    ("filter adds lines", REF, REF, None, ("--hyp-filter", "cat; echo a-9 x"), r"1 not in the reference \(a-9\)"),
    ("filter writes nothing", REF, REF, None, ("--hyp-filter", "true"), r"begins with a space"),
    ("lmwt path", REF, REF, {"lmwt": "../../x"}, (), r"decode.json: lmwt is .*a number"),
    ("lmwt list", REF, REF, {"lmwt": [1]}, (), r"decode.json: lmwt is .*a number"),
    ("lmwt null", REF, REF, {"lmwt": None}, (), r"decode.json: lmwt is .*a number"),
    ("lmwt nan", REF, REF, {"lmwt": float("nan")}, (), r"decode.json: lmwt is .*a number"),
    ("lmwt true", REF, REF, {"lmwt": True}, (), r"decode.json: lmwt is .*a number"),
    ("wip huge", REF, REF, {"wip": 1e9}, (), r"decode.json: wip is .*a number from -1000 to 1000"),
    ("wip option", REF, REF, None, ("--wip", "/tmp/x"), r"--wip is .*a number"),
    ("decode.json a list", REF, REF, [], (), r"decode.json"),
]


@pytest.mark.parametrize(("name", "ref", "hyp", "about", "options", "message"), SCORES, ids=[c[0] for c in SCORES])
def test_scoring(outcome, tmp_path, name, ref, hyp, about, options, message):
    for folder, text in (("data", ref), ("decode", hyp)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text").write_text(text, newline="")
    if about is not None:
        (tmp_path / "decode/decode.json").write_text(json.dumps(about))
    command = ["--ref", tmp_path / "data/text", "--hyp", tmp_path / "decode/text", "--replicates", 10, *options]
    found = outcome("score", command, TABLE)
    if message is None:
        assert found.kind == "accepted" and "%WER 0.00" in found.out, found
    else:
        assert found.kind == "error" and re.search(message, found.message), found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "decode"]


@pytest.mark.skipif(not (shutil.which("sctk") or shutil.which("sclite")), reason="sclite is not installed")
@pytest.mark.parametrize("stm_end", ["2.0", "-1"])
def test_sclite_takes_the_end_of_the_recording(sources, tmp_path, stm_end):
    from dld.scoring import sclite

    data = tmp_path / "data"
    shutil.copytree(sources / "talks", data)
    (data / "segments").write_text("anna-1 talk 0 1\nanna-2 talk 1 2\nbert-1 talk 2 -1\n")
    (data / "utt2dur").unlink()
    lines = [f"talk 1 talk {i} {i + 1} {text}" for i, text in enumerate(TEXTS.values())]
    lines[2] = f"talk 1 talk 2 {'4' if stm_end == '2.0' else '-1'} {TEXTS['bert-1']}"
    (data / "stm").write_text("\n".join(lines) + "\n")
    (tmp_path / "decode").mkdir()
    shutil.copy(data / "text", tmp_path / "decode/text")
    assert sclite.score(data, tmp_path / "decode").errors == 0


@pytest.mark.parametrize("text", ["one <unk>", "<blk>", "un<unk>known", "<s> one", "#0 one", "<eps>"])
def test_the_tokenizer_refuses_what_validate_refuses(outcome, tmp_path, text):
    (tmp_path / "text").write_text(f"a-1 one two\na-2 {text}\n")
    found = outcome("tokenizer", ["--text", tmp_path / "text", "--output", tmp_path / "lang"], TABLE)
    assert found.kind == "error" and re.search(r"utterance a-2 has the reserved symbol", found.message), found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00garbage" * 50, "not an ARPA file"),
        (gzip.compress(b"\\data\\\n" * 50, mtime=0)[:20], "cannot be read|not an ARPA file"),
        (b"\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\tone\n", "KenLM cannot read it"),
        (BOM + b"\\data\\\n", "byte order mark"),
    ],
)
def test_damaged_language_models(outcome, tmp_path, content, message):
    pytest.importorskip("kenlm")
    (tmp_path / "text").write_text(REF)
    (tmp_path / "lm").write_bytes(content)
    found = outcome("lm", ["--output", tmp_path / "lm", "--dev", tmp_path / "text"], TABLE)
    assert found.kind == "error" and re.search(message, found.message), found


@pytest.mark.parametrize("action", ["validate", "fix", "stats", "subset", "combine"])
def test_a_folder_in_the_position_of_a_table(outcome, sources, tmp_path, action):
    data = tmp_path / "data"
    shutil.copytree(sources / "plain", data)
    (data / "segments").mkdir()
    arguments = {"subset": ["--first", 1, data, tmp_path / "x"], "combine": [tmp_path / "x", data]}.get(action, [data])
    found = outcome("data", [action, *arguments], TABLE)
    assert found.kind == "error" and re.search(r"segments: a folder, a table was expected", found.err), found
    assert not (tmp_path / "x").exists()


def test_decoding_finds_what_headers_do_not_tell(outcome, sources, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(sources / "plain", data)
    samples = _noise(1.1)
    samples[8000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    (data / "wav.scp").write_text(re.sub(r"\S+anna-2.wav", f"{tmp_path}/nan.wav", (data / "wav.scp").read_text()))
    assert outcome("data", ["validate", data], TABLE).kind == "accepted"  # headers are fine
    found = outcome("data", ["validate", "--decode", "true", data], TABLE)
    assert found.kind == "error" and re.search(r"wav.scp:2: anna-2: .*not finite", found.err), found


def test_empty_references_of_test_sets_are_kept(outcome, sources, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(sources / "plain", data)
    (data / "text").write_text((data / "text").read_text().replace("anna-2 four", "anna-2"))
    found = outcome("data", ["fix", "--allow-empty", "true", data], TABLE)
    assert found.kind == "accepted" and "kept 3 of 3" in found.out
    assert outcome("data", ["validate", "--allow-empty", "true", data], TABLE).kind == "accepted"


def test_mixed_unicode_forms_are_told_once(outcome, sources, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(sources / "plain", data)
    text = (data / "text").read_text().replace("four", "caf\u00e9").replace("six", "cafe\u0301")
    (data / "text").write_text(text)
    assert outcome("data", ["validate", data], TABLE).kind == "accepted"  # a warning
    assert caplog.text.count("NFC: anna-2, NFD: bert-1") == 1
