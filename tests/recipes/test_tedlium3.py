"""The TED-LIUM 3 recipe's driver on the miniature, from the corpus to the report, with a tiny model."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def finished(root, drive, tiny_args, tmp_path_factory):
    """Folder in which all ten stages ran."""
    folder = tmp_path_factory.mktemp("tedlium3")
    done = drive(
        root / "recipes/tedlium3/run.sh",
        *("--corpus", str(root / "egs_data/tedlium3"), "--allow-partial", "true", "--test-sets", "test"),
        *("--data", str(folder / "data"), "--exp", str(folder / "exp"), "--device", "cpu"),
        *("--train-args", tiny_args("paper"), "--decode-args", "--rtf-utterances 1"),
        *("--data-args", "--start-padding 0.15 --end-padding 0.1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_all_stages_lead_to_a_table(finished):
    rows = json.loads((finished / "exp/report/results.json").read_text())["rows"]
    assert {(row["system"], row["depth"]) for row in rows} == {(s, n) for s in ("static", "ld", "dld") for n in (1, 3)}
    assert {row["words"] for row in rows} == {44}


def test_the_language_model_of_the_corpus_is_estimated_tuned_and_used(root, drive, finished, with_known_words):
    pytest.importorskip("kenlm")
    folder = with_known_words(finished, "test")
    corpus = root / "egs_data/tedlium3"
    done = drive(
        root / "recipes/tedlium3/run.sh",
        *("--corpus", str(corpus), "--stage", "7", "--systems", "dld", "--test-sets", "test", "--lm", "corpus"),
        *("--data", str(folder / "data"), "--exp", str(folder / "exp"), "--device", "cpu"),
        *("--decode-args", "--rtf-utterances 1 --beam-size 2 --token-logp=-1"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    about = json.loads((folder / "data/lm/4gram.arpa.gz.json").read_text())
    texts = [str(folder / "data/train/text"), str(corpus / "TEDLIUM_release-3/LM/miniature.en.gz")]
    assert about["order"] == 4 and about["text"] == texts
    rows = json.loads((folder / "exp/report/results.json").read_text())["rows"]
    assert {(row["variant"], row["depth"]) for row in rows} == {(v, n) for v in ("beam", "lm") for n in (1, 3)}


def test_every_scored_segment_of_test_is_decoded(finished):
    hypotheses = (finished / "exp/dld/decode_test_n3/text").read_text().splitlines()
    references = (finished / "data/test/text").read_text().splitlines()
    assert [line.split()[0] for line in hypotheses] == [line.split()[0] for line in references]
    assert len(references) == 7


@pytest.mark.skipif(not (shutil.which("sctk") or shutil.which("sclite")), reason="NIST sclite is not installed")
def test_sclite_finds_the_words_that_our_scorer_finds(root, drive, finished):
    decode = finished / "exp/dld/decode_test_n3"
    folders = [str(folder) for folder in (finished / "data/test", finished / "data/lang", decode)]
    done = drive("local/score_sclite.sh", *folders, cwd=root / "recipes/tedlium3")
    assert done.returncode == 0, done.stderr
    assert "/ 44," in done.stdout
    assert (decode / "scoring_sclite").is_dir()


def test_a_corpus_that_is_not_whole_stops_at_stage_1(root, drive, tmp_path):
    done = drive(
        root / "recipes/tedlium3/run.sh",
        *("--corpus", str(root / "egs_data/tedlium3"), "--data", str(tmp_path / "data"), "--stop-stage", "1"),
        *("--device", "cpu"),
    )
    assert done.returncode == 1
    assert "dld prepare: error:" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()
