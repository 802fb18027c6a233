"""Alignments, Kaldi score files and the score command."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dld.bin.score import main
from dld.errors import DldError
from dld.scoring import align, error_counts, kaldi, wer
from dld.scoring.bootstrap import paired_bootstrap, wer_interval

REF = """\
s1-a one two three
s1-b four <unk> six
s2-c seven
s2-d nine nine
"""
HYP = """\
s2-d nine nine
s1-a one too three four
s1-b four six
s2-c
"""


@pytest.fixture
def decode(tmp_path):
    """A data directory and a decode directory; returns the score command's arguments and the decode directory."""
    data, out = tmp_path / "data", tmp_path / "exp" / "decode"
    data.mkdir()
    out.mkdir(parents=True)
    (data / "text").write_text(REF)
    (data / "utt2spk").write_text("".join(f"{line.split()[0]} {line[:2]}\n" for line in REF.splitlines()))
    (out / "text").write_text(HYP)
    return ["--ref", str(data / "text"), "--hyp", str(out / "text"), "--replicates", "200"], out


def test_alignment_counts_add_up():
    alignment = align(list("abcde"), list("xacdqe"))
    assert (alignment.words, alignment.correct, alignment.subs, alignment.ins, alignment.dels) == (5, 4, 0, 2, 1)
    assert [ref for op, ref, _ in alignment.ops if op != "I"] == list("abcde")
    assert [hyp for op, _, hyp in alignment.ops if op != "D"] == list("xacdqe")


def test_fast_wer_equals_the_aligned_one():
    dice = random.Random(3)
    refs = [" ".join(dice.choices("abc", k=dice.randrange(9))) for _ in range(200)]
    hyps = [" ".join(dice.choices("abc", k=dice.randrange(9))) for _ in range(200)]
    total = error_counts((ref.split(), hyp.split()) for ref, hyp in zip(refs, hyps, strict=True))
    assert wer(refs, hyps) == pytest.approx(total.wer)
    assert total.words == sum(len(ref.split()) for ref in refs)


@pytest.mark.parametrize(("refs", "hyps", "value"), [([""], [""], 0.0), ([""], ["x"], float("inf"))])
def test_wer_without_reference_words(refs, hyps, value):
    assert wer(refs, hyps) == value


def test_kaldi_files(decode, capsys):
    args, out = decode
    assert main(args) == 0
    line = "%WER 44.44 [ 4 / 9, 1 ins, 2 del, 1 sub ]"
    assert f"{line} {out}/wer_0_0.0" in capsys.readouterr().out
    assert (out / "wer_0_0.0").read_text().splitlines() == [
        line,
        "%SER 75.00 [ 3 / 4 ]",
        "Scored 4 sentences, 0 not present in hyp.",
    ]
    scoring = out / "scoring_kaldi"
    assert (scoring / "best_wer").read_text() == f"{line} {out}/wer_0_0.0\n"
    assert (scoring / "test_filt.txt").read_text() == REF
    details = scoring / "wer_details"
    assert (details / "per_utt").read_text().splitlines()[:4] == [
        "s1-a ref   one  two  three  ***",
        "s1-a hyp   one  too  three  four",
        "s1-a op    C    S    C      I",
        "s1-a #csid 2 1 1 0",
    ]
    table = [row.split() for row in (details / "per_spk").read_text().splitlines()]
    assert table[0] == ["SPEAKER", "id", "#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err"]
    assert table[1] == ["s1", "raw", "2", "6", "4", "1", "1", "1", "3", "2"]
    assert table[2][:6] == ["s1", "sys", "2", "6", "66.67", "16.67"]
    assert table[-2] == ["SUM", "raw", "4", "9", "6", "1", "1", "2", "4", "3"]
    ops = [row.split() for row in (details / "ops").read_text().splitlines()]
    assert ops[0] == ["correct", "nine", "nine", "2"]
    assert ["substitution", "two", "too", "1"] in ops
    assert ["insertion", "***", "four", "1"] in ops
    assert ["deletion", "<unk>", "***", "1"] in ops
    assert (details / "wer_bootci").read_text().startswith("Set1: %WER 44.44 95% Conf Interval [ ")


def test_characters_leave_out_spaces_and_keep_markers_whole(decode):
    args, out = decode
    assert main(args) == 0
    # one two three · four <unk> six · seven · nine nine: 11 + 8 + 5 + 8 units.
    assert "/ 32," in (out / "cer_0_0.0").read_text().splitlines()[0]
    assert (out / "scoring_kaldi" / "test_filt.chars.txt").read_text().splitlines()[1] == "s1-b f o u r <unk> s i x"
    assert (out / "scoring_kaldi" / "best_cer").is_file()


def test_scoring_again_is_the_same_and_leaves_nothing_stale(decode):
    args, out = decode
    main([*args, "--lmwt", "7", "--wip", "0.5"])
    assert (out / "wer_7_0.5").is_file()
    main(args)
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert [path.name for path in out.glob("wer_*")] == ["wer_0_0.0"]
    main(args)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_characters_of_older_hypotheses_do_not_survive(decode):
    args, out = decode
    main(args)
    main([*args, "--units", "word"])
    assert (out / "cer_0_0.0").is_file()
    (out / "text").write_text(HYP.replace("too", "two"))
    main([*args, "--units", "word"])
    assert not list(out.rglob("*cer*")) and (out / "wer_0_0.0").is_file()


def test_words_that_look_like_gaps_survive_per_utt(tmp_path):
    alignment = align(["***", "a", "C"], ["***", "#csid", "C", "ref"])
    kaldi.write_per_utt(tmp_path / "per_utt", {"u": alignment, "empty": align([], [])})
    assert kaldi.read_per_utt(tmp_path / "per_utt") == {"u": alignment, "empty": align([], [])}


@pytest.mark.parametrize(
    ("hyp", "message"),
    [
        ("s1-a one\ns1-b\ns2-c\n", "1 missing (s2-d)"),
        (HYP + "s3-x hello\n", "1 not in the reference (s3-x)"),
        (HYP + "s1-a one\n", "text:5: s1-a is also in line 2"),
        ("", "text: is empty"),
        ("\n" + HYP, "text:1: the line is empty or begins with a space"),
    ],
)
def test_bad_hypotheses_are_errors_and_leave_no_result(decode, capsys, hyp, message):
    args, out = decode
    main(args)
    (out / "text").write_text(hyp)
    assert main(args) == 1
    said = capsys.readouterr().err
    assert message in said and len(said.splitlines()) == 1
    assert not list(out.glob("wer_*")) and not (out / "scoring_kaldi" / "best_wer").exists()


def test_the_wrong_reference_leaves_an_earlier_result_as_it_was(decode, capsys):
    args, out = decode
    main(args)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out.parent.parent / "data" / "text").write_text("s9-z another set\n")
    assert main(args) == 1
    assert "missing (s9-z)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_reference_without_words_is_an_error(decode, capsys):
    args, out = decode
    (out.parent.parent / "data" / "text").write_text("".join(f"{line.split()[0]}\n" for line in REF.splitlines()))
    assert main(args) == 1
    assert "no utterance has any words" in capsys.readouterr().err


def test_filters(decode, capsys):
    args, out = decode
    assert main([*args, "--ref-filter", "sed 's/ <unk>//g'", "--hyp-filter", "sed 's/ too/ two/'"]) == 0
    assert "[ 2 / 8, 1 ins, 1 del, 0 sub ]" in (out / "wer_0_0.0").read_text()
    assert "<unk>" not in (out / "scoring_kaldi" / "test_filt.txt").read_text()
    assert main([*args, "--hyp-filter", "grep -v s2-c"]) == 1
    assert "1 missing (s2-c)" in capsys.readouterr().err
    assert main([*args, "--hyp-filter", "false | cat"]) == 1
    assert "filter 'false | cat' failed with status 1" in capsys.readouterr().err


def test_no_break_space_stays_inside_a_word(tmp_path):
    (tmp_path / "text").write_text("u a\u00a0b\u2028c\t d \r\n", encoding="utf-8")
    assert kaldi.read_text(tmp_path / "text") == {"u": ["a\u00a0b\u2028c", "d"]}


def test_changed_hypotheses_are_noticed(decode):
    args, out = decode
    with pytest.raises(DldError, match="not scored yet.*stage 9"):
        kaldi.scored_alignments(out)
    main(args)
    assert kaldi.scored_alignments(out)["s1-a"].subs == 1
    (out / "text").write_text(HYP.replace("too", "two"))
    with pytest.raises(DldError, match="changed since it was scored"):
        kaldi.scored_alignments(out)


def test_interval_covers_and_shrinks():
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(100):
        errors = generator.binomial(10, 0.1, size=100)
        low, high = wer_interval(errors, np.full(100, 10), replicates=500, seed=trial)
        hits += low <= 10.0 <= high
    assert 85 <= hits <= 100
    small, large = (wer_interval([0, 3] * n, [10] * 2 * n, replicates=1000) for n in (20, 500))
    assert large[1] - large[0] < (small[1] - small[0]) / 3


def test_interval_does_not_depend_on_how_the_draws_are_chunked(monkeypatch):
    data = [0, 1, 2, 0, 5], [4, 4, 4, 4, 9]
    whole = wer_interval(*data, replicates=300)
    monkeypatch.setattr("dld.scoring.bootstrap.CHUNK", 40)
    assert wer_interval(*data, replicates=300) == whole


def test_paired_bootstrap_finds_what_is_there_and_no_more():
    generator = np.random.default_rng(0)
    words = np.full(300, 8)
    b = generator.binomial(8, 0.10, size=300)
    better = np.maximum(0, b - generator.binomial(1, 0.2, size=300))
    result = paired_bootstrap(better, b, words, replicates=2000)
    assert result.p < 0.01 and result.high < 0 and result.relative_high < 0
    assert result.delta == pytest.approx(100 * (better.sum() - b.sum()) / words.sum())
    mirrored = paired_bootstrap(b, better, words, replicates=2000)
    assert mirrored.delta == -result.delta and mirrored.p == result.p
    # Two systems with the same rate: p is spread evenly, so about one trial in ten falls below 0.1.
    small = 0
    for trial in range(100):
        one, two = generator.binomial(8, 0.1, size=(2, 300))
        small += paired_bootstrap(one, two, words, replicates=300, seed=trial).p < 0.1
    assert 2 <= small <= 22


def test_paired_bootstrap_with_a_perfect_baseline():
    result = paired_bootstrap([1, 0], [0, 0], [4, 4], replicates=100)
    assert result.relative is None and result.delta == 12.5


def needs_sclite():
    if not (shutil.which("sclite") or shutil.which("sctk")):
        pytest.skip("NIST sclite (Debian package sctk) is not installed")


def random_pairs(number, seed):
    """Random sentences of a small vocabulary and copies of them with random edits."""
    dice = random.Random(seed)
    vocabulary = [
        "zero",
        "one",
        "Two",
        "two",
        "it's",
        "{x",
        "a/b",
        "@",
        "(uh)",
        "<unk>",
        ";;",
        "über",
        "%hes",
        "*",
        "w-",
    ]
    refs, hyps = {}, {}
    for index in range(number):
        words = dice.choices(vocabulary, k=dice.randrange(1, 13))
        edited = []
        for word in words:
            kind = dice.random()
            if kind < 0.1:
                continue
            edited.append(dice.choice(vocabulary) if kind < 0.25 else word)
            if kind > 0.9:
                edited.append(dice.choice(vocabulary))
        key = f"s-{index % 7}_u{index:04d}"
        refs[key], hyps[key] = words, edited
    return refs, hyps


def write_text(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join([key, *words]) + "\n" for key, words in texts.items()), encoding="utf-8")


def test_sclite_agrees_on_a_thousand_random_pairs(tmp_path, capsys):
    needs_sclite()
    from dld.scoring import sclite

    refs, hyps = random_pairs(1000, seed=5)
    data, out = tmp_path / "data", tmp_path / "decode"
    write_text(data / "text", refs)
    write_text(out / "text", hyps)
    (data / "utt2spk").write_text("".join(f"{key} {key.partition('_')[0]}\n" for key in refs))
    ours = error_counts((refs[key], hyps[key]) for key in refs)
    assert main(["--sclite", "true", "--ref", str(data / "text"), "--hyp", str(out / "text")]) == 0
    theirs = sclite.read_totals(out / "scoring_sclite" / "score.raw")
    assert str(theirs) in capsys.readouterr().out
    assert (theirs.words, theirs.sentences) == (ours.words, 1000)
    assert theirs.sentence_errors == ours.sentence_errors
    assert abs(theirs.errors - ours.errors) <= 0.002 * ours.errors
    assert {path.name for path in (out / "scoring_sclite").iterdir()} >= {"score.sys", "score.pra", "score.dtl"}


def test_sclite_with_stm_and_glm(tmp_path):
    needs_sclite()
    from dld.scoring import sclite

    data, out = tmp_path / "data", tmp_path / "decode"
    write_text(data / "text", {"a": ["unused"], "b": ["unused"]})
    (data / "segments").write_text("a talk 1.00 3.00\nb talk 3.50 5.00\n")
    (data / "stm").write_text(
        "talk 1 ann 1.00 3.00 <o,f0,female> we are here\ntalk 1 bob 3.50 5.00 <o,f0,male> gonna go\n"
    )
    (data / "glm").write_text(
        ';; a map\n* name "t.map"\n* desc "d"\n* format = "NIST1"\n* max_nrules = "10"\n* copy_no_hit = "T"\n'
        '* case_sensitive = "F"\n\n[gonna] => [going to] / [ ] __ [ ]\n'
    )
    write_text(out / "text", {"a": ["We", "are", "there"], "b": ["going", "to", "go"]})
    total = sclite.score(data, out)
    assert (total.words, total.subs, total.errors) == (6, 1, 1)
    (data / "glm").unlink()
    assert sclite.score(data, out).errors > 1


def test_sclite_missing_is_one_clear_line(decode, capsys, monkeypatch):
    args, out = decode
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main([*args, "--sclite", "true"]) == 1
    said = capsys.readouterr().err
    assert "apt-get install sctk" in said and len(said.splitlines()) == 1
    assert not (out / "scoring_sclite").exists()


@pytest.fixture
def recipe(tmp_path, decode, root):
    """A recipe folder whose local/score.sh stands where the mini recipe's does."""
    _, out = decode
    shutil.copytree(root / "recipes" / "common", tmp_path / "recipes" / "common")
    folder = tmp_path / "recipes" / "x"
    (folder / "local").mkdir(parents=True)
    for name in ("score.sh", "score_sclite.sh"):
        shutil.copy(root / "recipes" / "mini" / "local" / name, folder / "local" / name)

    def run(script, *options):
        return subprocess.run(
            [f"local/{script}", *options, "../../data", "lang", "../../exp/decode"],
            cwd=folder,
            capture_output=True,
            text=True,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(root)},
        )

    return folder, out, run


def test_score_script_with_hooks(recipe):
    folder, out, run = recipe
    hook = folder / "local" / "wer_hyp_filter"
    hook.write_text("#!/bin/sh\nexec sed 's/ too/ two/'\n")
    hook.chmod(0o755)
    done = run("score.sh", "--cer", "false", "--replicates", "100")
    assert done.returncode == 0, done.stderr
    assert "[ 3 / 9, 1 ins, 2 del, 0 sub ]" in (out / "wer_0_0.0").read_text()
    assert not list(out.glob("cer_*"))
    assert run("score.sh", "--stage", "2").returncode == 0
    assert (out / "cer_0_0.0").is_file() and (out / "wer_0_0.0").is_file()


def test_score_script_refuses_what_it_does_not_know(recipe):
    _, out, run = recipe
    assert run("score.sh", "--no-such-option", "1").returncode != 0
    (out / "text").unlink()
    done = run("score.sh")
    assert done.returncode != 0 and "exp/decode/text: no such file" in done.stderr


def test_score_sclite_script(recipe):
    needs_sclite()
    _, out, run = recipe
    done = run("score_sclite.sh")
    assert done.returncode == 0, done.stderr
    assert "4 / 9" in done.stdout and (out / "scoring_sclite" / "score.raw").is_file()
