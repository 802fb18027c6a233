"""The report of an experiment folder."""

import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from dld.bin.report import main
from dld.bin.score import main as score
from dld.reporting import plots

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twenty", "thirty"]
RATES = {
    "static": {12: 0.05},
    "ld": {2: 0.40, 4: 0.20, 6: 0.12, 8: 0.09, 10: 0.08, 12: 0.075},
    "dld": {2: 0.32, 4: 0.16, 6: 0.10, 8: 0.07, 10: 0.06, 12: 0.055},
}


def corrupt(words, rate, dice):
    """Random edits of a sentence."""
    hypothesis = []
    for word in words:
        kind = dice.random()
        if kind < 0.2 * rate:
            continue
        hypothesis.append(dice.choice([other for other in NUMBERS if other != word]) if kind < rate else word)
    return hypothesis


def add_decode(exp, system, depth, refs, rate, suffix="", test_set="test", scored=True, seed=1):
    """Write one decode directory as the decoding stage does, and score it."""
    dice = random.Random(f"{system} {depth} {suffix} {test_set} {seed}")
    run = system if seed == 1 else f"{system}_seed{seed}"
    folder = exp / run / f"decode_{test_set}_n{depth}{suffix}"
    folder.mkdir(parents=True)
    data = exp.parent / "data" / test_set
    data.mkdir(parents=True, exist_ok=True)
    (data / "text").write_text("".join(f"{key} {' '.join(words)}\n" for key, words in refs.items()))
    lines = (" ".join([key, *corrupt(words, rate, dice)]) for key, words in refs.items())
    (folder / "text").write_text("".join(f"{line}\n" for line in lines))
    info = {
        "system": system,
        "test_set": test_set,
        "depth": depth,
        "num_blocks": 12,
        "gates": "".join(str(int(block * depth // 12 != (block + 1) * depth // 12)) for block in range(12)),
        "policy": "even",
        "params": 2_000_000,
        "params_active": 200_000 + 150_000 * depth,
        "gmacs_per_s": 0.02 + 0.005 * depth,
        "rtf": 0.001 * depth,
        "audio_seconds": 400.0,
        "model_sha256": "0" * 64,
        "data_dir": str(data),
        "trained_git": "def",
        "git": "abc",
        "lm": None,
        "train_seconds": 90.5,
        "seed": seed,
    }
    (folder / "decode.json").write_text(json.dumps(info))
    if scored:
        assert score(["--ref", str(data / "text"), "--hyp", str(folder / "text"), "--replicates", "100"]) == 0
    return folder


def sentences(number, seed=0):
    """Reference sentences."""
    dice = random.Random(seed)
    return {f"s{i % 9}-{i:03d}": dice.choices(NUMBERS, k=dice.randrange(1, 8)) for i in range(number)}


@pytest.fixture
def exp(tmp_path):
    """Three systems, all their depths, and training logs of two."""
    folder = tmp_path / "exp"
    refs = sentences(150)
    for system, rates in RATES.items():
        for depth, rate in rates.items():
            add_decode(folder, system, depth, refs, rate)
    add_log(folder / "ld", 1.0)
    add_log(folder / "dld", 0.8)
    return folder


def add_log(run, scale):
    """Write the log of a training run of 15 epochs, 10 updates and 15 s each."""
    with open(run / "train_log.jsonl", "w") as out:
        for e in range(1, 16):
            entry = {"epoch": e, "updates": 10 * e, "seconds": 15.0 * e, "lr": 1e-3, "mean_wer": scale * 90 / e}
            out.write(json.dumps({**entry, "wer": {"2": 1.0, "12": 1.0}}) + "\n")


def run(exp, *options):
    """Run the command with few draws; return its status and the results, where there are any."""
    status = main(["--exp", str(exp), "--output", str(exp / "report"), "--replicates", "200", *options])
    path = exp / "report" / "results.json"
    return status, json.loads(path.read_text()) if path.is_file() else None


def test_rows_hold_what_scoring_found(exp):
    status, results = run(exp)
    assert status == 0
    assert [(row["system"], row["depth"]) for row in results["rows"]] == [
        (system, depth) for system, rates in RATES.items() for depth in sorted(rates)
    ]
    for row in results["rows"]:
        line = (exp / row["system"] / f"decode_test_n{row['depth']}" / "wer_0_0.0").read_text().splitlines()[0]
        errors = row["ins"] + row["del"] + row["sub"]
        assert line.startswith(
            f"%WER {row['wer']:.2f} [ {errors} / {row['words']}, {row['ins']} ins, {row['del']} del,"
        )
        assert row["wer_low"] < row["wer"] < row["wer_high"]
        assert row["gates"].count("1") == row["depth"] and row["gmacs_per_s"] and row["rtf"] and row["params"]
        assert row["train_seconds"] == 90.5 and 0 < row["cer"] < 100


def test_comparisons_are_paired_and_aggregated(exp):
    _, results = run(exp)
    found = {(c["system"], c["range"], *c["depths"]): c for c in results["comparisons"]}
    assert set(found) == {
        *(("dld", "depth", depth) for depth in RATES["dld"]),
        ("dld", "high dropping", 2, 4),
        ("dld", "no dropping", 12),
        ("dld", "all depths", *sorted(RATES["dld"])),
        ("static", "depth", 12),
        ("static", "no dropping", 12),
    }
    wers = {(row["system"], row["depth"]): row["wer"] for row in results["rows"]}
    high = found["dld", "high dropping", 2, 4]
    assert high["wer"] == pytest.approx((wers["dld", 2] + wers["dld", 4]) / 2, abs=1e-3)
    assert high["relative"] == pytest.approx(100 * (high["wer"] / high["baseline_wer"] - 1))
    every = found[("dld", "all depths", *sorted(RATES["dld"]))]
    mean = sum(wers["dld", depth] for depth in RATES["dld"]) / len(RATES["dld"])
    assert every["wer"] == pytest.approx(mean, abs=1e-3)
    assert high["relative"] < 0 and high["p"] <= 0.05 and high["high"] < 0
    assert all(c["baseline"] == "ld" for c in results["comparisons"])


def test_files(exp):
    _, results = run(exp, "--title", "A title")
    report = exp / "report"
    page = (report / "README.md").read_text()
    assert page.startswith("# A title\n")
    best = min((row for row in results["summary"] if row["depth"] == 4), key=lambda row: row["wer"])
    [full] = [row for row in results["summary"] if row["system"] == "static"]
    assert page.splitlines()[2].startswith(
        f"**4 of 12 blocks: 50 % of the compute, {best['wer']:.1f} against {full['wer']:.1f} % WER (dld"
    )
    assert "| depth | GMAC/s | static | ld | dld |" in page
    assert "| 2 | 0.030 | – | " in page
    assert "| 4 | dld | 001001001001 | even | – |" in page
    assert "| where | static | dld |" in page and "| high dropping (mean of depths 2, 4) | – | -" in page
    assert "![tradeoff](tradeoff.png)" in page and "![training](training.png)" in page
    for name in ("tradeoff", "training", "gates"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(report / f"{name}.svg").getroot().tag.endswith("svg")
    transcripts = (report / "transcripts.md").read_text()
    assert transcripts.count("| system and depths |") == 8
    assert "~~" in transcripts and "**" in transcripts
    said = [line.partition(": ")[2].split() for line in transcripts.splitlines() if line.startswith("`s")]
    assert len(said) == 8 and all(len(words) >= 4 for words in said)
    assert not [path for path in report.iterdir() if path.name.startswith(".")]


def test_systems_and_baseline_can_be_chosen(exp):
    _, results = run(exp, "--systems", "static,dld", "--baseline", "static")
    assert {row["system"] for row in results["rows"]} == {"static", "dld"}
    assert {(c["system"], *c["depths"]) for c in results["comparisons"]} == {("dld", 12)}


def test_several_seeds_are_one_line_of_their_mean(exp):
    add_decode(exp, "dld", 2, sentences(150), 0.5, seed=2)
    _, results = run(exp)
    transcripts = (exp / "report" / "transcripts.md").read_text()
    assert (
        len(re.findall(r"dld (?:\d+, )*2\b", transcripts)) == len(re.findall(r"dld (?:\d+, )*12\b", transcripts)) == 8
    )
    [entry] = [e for e in results["summary"] if (e["system"], e["depth"]) == ("dld", 2)]
    wers = [row["wer"] for row in results["rows"] if (row["system"], row["depth"]) == ("dld", 2)]
    assert entry["seeds"] == [1, 2] and len(wers) == 2 and wers[0] != wers[1]
    assert entry["wer"] == pytest.approx(sum(wers) / 2, abs=1e-3)
    assert min(wers) < entry["wer_low"] < entry["wer"] < entry["wer_high"] < max(wers) + 10
    [compared] = [c for c in results["comparisons"] if c["system"] == "dld" and c["depths"] == [2]]
    assert compared["wer"] == pytest.approx(entry["wer"], abs=1e-3)
    page = (exp / "report" / "README.md").read_text()
    assert f"| {entry['wer']:.2f} [{entry['wer_low']:.2f}, {entry['wer_high']:.2f}] |" in page
    assert "| 2 | dld | 2 |" in page and "| dld_seed2 |" in page


def test_how_soon_a_run_reaches_what_the_baseline_ended_with(exp):
    _, results = run(exp)
    found = {entry["run"]: entry for entry in results["convergence"]}
    # LD ends at 90 / 15 = 6 %, DLD is there after 12 of the 15 epochs: 0.8 * 90 / 12 = 6.
    assert found["dld"]["epoch"] == 12 and found["dld"]["seconds_share"] == pytest.approx(12 / 15)
    assert found["ld"]["updates_share"] == 1.0
    assert "| dld | – | – | 1 | – | 1.5 | 80 % | 80 % | def | abc |" in (exp / "report" / "README.md").read_text()
    add_log(exp / "dld", 1.01)
    _, results = run(exp)
    assert results["convergence"][1]["seconds_share"] is None
    assert "| never | never |" in (exp / "report" / "README.md").read_text()


def test_a_page_can_be_written_again_from_its_numbers(exp, tmp_path):
    run(exp)
    notes = tmp_path / "notes.md"
    notes.write_text("What was tried.\n")
    command = ["--results", str(exp / "report" / "results.json"), "--output", str(tmp_path / "again")]
    assert main([*command, "--notes", str(notes)]) == 0
    pages = [path.read_text() for path in (tmp_path / "again/README.md", exp / "report/README.md")]
    assert "What was tried." in pages[0]
    again, first = (page.partition("## test")[2].rpartition("\n\n")[0] for page in pages)
    assert "| dld |" in again and again == first
    assert (tmp_path / "again" / "tradeoff.png").exists()


def test_a_file_that_holds_no_results_is_refused(tmp_path, capsys):
    (tmp_path / "old.json").write_text('{"rows": []}')
    assert main(["--results", str(tmp_path / "old.json"), "--output", str(tmp_path)]) == 1
    assert "old.json: lacks title" in capsys.readouterr().err


def test_results_of_the_first_version_are_read(exp, tmp_path):
    _, results = run(exp)
    equal = [{"test_set": "test", "label": "ld", "depths": [2, 4]}]
    for row in results["rows"]:
        row["gates"] = list(map(int, row["gates"]))
    results["twins"] = equal
    del results["equal_transcripts"]
    (tmp_path / "old.json").write_text(json.dumps(results, indent=1))
    assert main(["--results", str(tmp_path / "old.json"), "--output", str(tmp_path)]) == 0
    pages = [path.read_text() for path in (tmp_path / "README.md", exp / "report/README.md")]
    assert "ld at depths 2 and 4 has the same transcripts" in pages[0]
    assert pages[0].replace("\n\n**Look closer:**", "|").count("|") == pages[1].count("|") + 1


def test_an_interval_of_one_draw_is_drawn(exp):
    assert main(["--exp", str(exp), "--output", str(exp / "report"), "--replicates", "1"]) == 0


def test_results_are_one_line_a_row(exp):
    _, results = run(exp)
    lines = (exp / "report/results.json").read_text().splitlines()
    rows = [json.loads(line.rstrip(",")) for line in lines if line.startswith("{") and '"rtf"' in line]
    assert rows == results["rows"]


def leaves(value, path=()):
    """Paths of all that a JSON value holds, of each list the first entry."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    return [path, *(leaf for key, entry in items for leaf in leaves(entry, (*path, key)))]


def test_changed_results_are_written_or_refused_in_one_line(exp, tmp_path, capsys, monkeypatch):
    _, results = run(exp)
    monkeypatch.setattr(plots, "draw", lambda *arguments: [])  # pictures take long
    file = tmp_path / "changed.json"
    for path in leaves(results)[1:]:
        for value in (None, -1, "x", []):
            changed = json.loads(json.dumps(results))
            owner = changed
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = value
            file.write_text(json.dumps(changed))
            status = main(["--results", str(file), "--output", str(tmp_path / "page")])
            said = capsys.readouterr().err
            assert status == 0 or (status == 1 and len(said.splitlines()) == 1 and "changed.json: " in said), path


def test_without_a_baseline_there_are_no_comparisons(exp):
    status, results = run(exp, "--systems", "static,dld")
    assert status == 0 and results["comparisons"] == []


def test_variants_and_test_sets_stay_apart(exp):
    add_decode(exp, "ld", 4, sentences(150), 0.3, suffix="_first")
    add_decode(exp, "ld", 4, sentences(40, seed=1), 0.3, test_set="other")
    _, results = run(exp)
    page = (exp / "report" / "README.md").read_text()
    assert "| static | ld | ld (first) | dld |" in page and "## other" in page
    assert {row["variant"] for row in results["rows"] if row["system"] == "ld"} == {"", "first"}


def test_equal_transcripts_from_different_gates_are_pointed_out(exp, caplog):
    source, copy = (exp / "ld" / f"decode_test_n{depth}" for depth in (2, 4))
    (copy / "text").write_text((source / "text").read_text())
    score(["--ref", str(exp.parent / "data" / "test" / "text"), "--hyp", str(copy / "text")])
    run(exp)
    assert "ld at depths 2 and 4 has the same transcripts" in (exp / "report" / "README.md").read_text()
    assert "different gates, equal hypotheses" in caplog.text


def test_perfect_system(tmp_path):
    folder = tmp_path / "exp"
    for depth in (6, 12):
        add_decode(folder, "ld", depth, sentences(20), 0.0)
        add_decode(folder, "dld", depth, sentences(20), 0.0)
    status, results = run(folder)
    assert status == 0
    assert {row["wer"] for row in results["rows"]} == {0.0}
    assert all(c["relative"] is None and c["p"] == 1.0 for c in results["comparisons"])


def edit(folder, **changes):
    """Change fields of a decode.json; None removes one."""
    path = folder / "decode.json"
    info = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in info.items() if value is not None}))


def test_a_second_run_of_a_system_is_a_row_of_its_own_and_may_be_the_baseline(exp):
    edit(add_decode(exp, "ld_lr2", 4, sentences(150), 0.1), system="ld")
    edit(add_decode(exp, "ld_long", 4, sentences(150), 0.1), system="ld", epochs=3, num_epochs=9)
    _, results = run(exp, "--systems", "ld,ld_lr2,ld_long", "--baseline", "ld_long")
    rows = {(row["run"], row["system"]) for row in results["rows"]}
    assert rows == {("ld", "ld"), ("ld_lr2", "ld_lr2"), ("ld_long", "ld_long (epoch 3 of 9)")}
    assert {entry["baseline"] for entry in results["comparisons"]} == {"ld_long (epoch 3 of 9)"}
    assert "ld_long (epoch 3 of 9)" in (exp / "report/README.md").read_text()


def test_errors_are_one_line_and_leave_no_report(exp, capsys):
    folder = exp / "ld" / "decode_test_n4"

    def said(*options):
        status, results = run(exp, *options)
        err = capsys.readouterr().err
        assert status == 1 and results is None and len(err.splitlines()) == 1
        return err

    assert "no decodes of system 'lld'; there are static, ld, dld" in said("--systems", "lld")
    assert "--baseline lld" in said("--baseline", "lld")
    edit(folder, rtf=None)
    assert "decode_test_n4/decode.json: lacks rtf" in said()
    edit(folder, rtf=float("nan"))
    assert "rtf is nan" in said()
    edit(folder, rtf=0.1, depth=5)
    assert "4 of 12 gates are open, but depth is 5" in said()
    edit(folder, depth=4, test_set="dev")
    assert "its decode.json says set dev" in said()
    edit(folder, test_set="test")
    (exp / "ld" / "model.json").write_text(json.dumps({"state_sha256": "1" * 64}))
    assert "decoded with other weights than" in said() and "decode again (stage 8)" in said()
    (exp / "ld" / "model.json").unlink()
    (exp / "dld" / "train_log.jsonl").write_text('{"epoch": 1')
    assert "train_log.jsonl:1: not a line of a training log" in said()
    (exp / "dld" / "train_log.jsonl").unlink()
    text = (folder / "text").read_text()
    (folder / "text").write_text(text.replace("one", "two"))
    assert "changed since it was scored" in said()
    (folder / "scoring_kaldi" / "best_wer").unlink()
    assert "decode_test_n4: not scored yet; run the scoring stage (stage 9)" in said()


def test_rows_of_other_references_are_refused(exp, capsys):
    add_decode(exp, "early", 4, sentences(150, seed=2), 0.1)
    assert run(exp) == (1, None)
    assert "reference words, but" in capsys.readouterr().err


def test_empty_folder(tmp_path, capsys):
    assert run(tmp_path) == (1, None)
    assert "no decode directories" in capsys.readouterr().err


def test_report_does_not_import_torch():
    code = "import sys, dld.reporting.report, dld.scoring.kaldi; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_equal_transcripts_are_one_row(exp):
    for depth in (2, 4, 6):
        (exp / "ld" / f"decode_test_n{depth}" / "text").write_text((exp / "dld/decode_test_n12/text").read_text())
        folder = exp / "ld" / f"decode_test_n{depth}"
        score(["--ref", str(exp.parent / "data/test/text"), "--hyp", str(folder / "text"), "--replicates", "100"])
    run(exp)
    tables = (exp / "report/transcripts.md").read_text().split("| system and depths |")[1:]
    for table in tables:
        hypotheses = [line.split("|")[3] for line in table.splitlines() if line.startswith("| ") and " / " in line]
        assert len(hypotheses) == len(set(hypotheses))
        [row] = [line for line in table.splitlines() if re.search(r"\bld (\d+, )*2\b", line.replace("dld", "x"))]
        assert re.search(r"\bld 2, 4, 6\b", row) and re.search(r"dld (\d+, )*12\b", row)
        entries = re.findall(
            r"[a-z]+ [\d, ]*\d", "".join(line.split("|")[1] + ";" for line in table.splitlines() if " / " in line)
        )
        assert sum(len(entry.split(",")) for entry in entries) == 13


def add_latency(exp, busy=False, **changes):
    """Write the times of an utterance of all decodes: 2 ms for each block."""
    timings = [
        {
            **{
                "run": system,
                "system": system,
                "seed": 1,
                "model_sha256": "0" * 64,
                "num_blocks": 12,
                "policy": "even",
            },
            **{
                "depth": depth,
                "gates": json.loads((exp / system / f"decode_test_n{depth}/decode.json").read_text())["gates"],
            },
            **{"median_ms": 2.0 * depth, "p95_ms": 3.0 * depth, "cpu_ms": 1.9 * depth, "spread_percent": 5.0},
            "round_medians_ms": [1.95 * depth, 2.05 * depth],
            **changes,
        }
        for system, rates in RATES.items()
        for depth in rates
    ]
    about = {"test_set": "test", "utterances": ["s0-000"], "seconds": [2.0], "rounds": 2, "threads": 1, "device": "cpu"}
    machine = {
        "precision": "fp32",
        "cpu": "A processor",
        "load": 0.1,
        "versions": {"torch": "2"},
        "git": "abc",
        "date": "x",
    }
    wall = {"wall_over_cpu": 1.6 if busy else 1.02}
    (exp / "latency_test.json").write_text(json.dumps({**about, **machine, **wall, "timings": timings}))


def test_milliseconds_are_in_first_line_tables_and_picture(exp):
    add_latency(exp)
    _, results = run(exp)
    page = (exp / "report/README.md").read_text()
    assert "8.0 against 24.0 ms for an utterance" in page.splitlines()[2]
    assert "| depth | GMAC/s | ms | static |" in page and "| 2 | 0.030 | 4.0 | – |" in page
    assert re.search(r"\| 4 \| dld \|.*\| 0.040 \| 8.0 ± 0.2 \| 12.0 \| 7.6 \|", page)
    assert "A processor" in page and "**Warning:**" not in page
    assert "median time of an utterance, ms" in (exp / "report/tradeoff.svg").read_text()
    assert len(results["latency"][0]["timings"]) == len(results["rows"])


def test_a_busy_machine_is_said(exp):
    add_latency(exp, busy=True)
    run(exp)
    page = (exp / "report/README.md").read_text()
    assert "**Warning:** the machine was busy: wall time was 1.60 times the processor time" in page


def test_times_of_other_weights_are_refused(exp, capsys):
    add_latency(exp, model_sha256="1" * 64)
    assert run(exp) == (1, None)
    assert "latency_test.json: static was measured with other weights" in capsys.readouterr().err


def test_the_start_of_each_run_is_in_the_tables(exp):
    (exp / "dld/hyperparams.yaml").write_text("init_from: exp/static\neval_policy: first-n\n")
    (exp / "ld/hyperparams.yaml").write_text("init_from: null\npretrained: null\n")
    _, results = run(exp)
    assert {row["run"]: row.get("start") for row in results["rows"]} == {
        "static": None,
        "ld": "scratch",
        "dld": "static",
    }
    page = (exp / "report/README.md").read_text()
    assert "| 4 | dld | 001001001001 | even | static |" in page and "| ld | – | scratch | 1 |" in page
    # The tables of error rates and of differences end with it, too.
    assert "| start | – | unknown | scratch | static |" in page and "| start | unknown | static |" in page
    assert "the gates of the policy first-n" in page
