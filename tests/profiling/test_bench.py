"""`dld bench`: packs, networks and single graphs taking turns; the record, the page and the picture."""

import json

import numpy as np
import pytest

from dld.bin.bench import main, make_parser
from dld.errors import DldError, UsageError
from dld.export.pack import export_pack
from dld.profiling.bench import candidates
from dld.profiling.bench_records import Bench
from dld.profiling.records import busy
from dld.profiling.start import started
from dld.profiling.whole import WholeGraph
from dld.recognition.eager import load_experiment
from dld.recognition.pack import PackRecognizer


@pytest.fixture(scope="module")
def packs(trained_pair, tmp_path_factory):
    """A float32 and an int8 pack of the student."""
    folder = tmp_path_factory.mktemp("packs")
    for precision in ("float32", "int8"):
        export_pack(load_experiment(trained_pair / "dld"), folder / precision, precision)
    return folder


@pytest.fixture(scope="module")
def measured(packs, trained_pair, tiny_corpus, tmp_path_factory):
    """What the command wrote of all three, with 1 and 2 threads."""
    output = tmp_path_factory.mktemp("bench")
    models = [str(packs / "float32"), str(packs / "int8"), str(trained_pair / "dld")]
    options = ["--depths", "1", "--policy", "first-n", "--utterances", "2", "--rounds", "2", "--output", str(output)]
    assert main([*models, "--data", str(tiny_corpus / "test"), *options]) in (0, None)
    return output


def test_every_model_depth_and_number_of_threads_has_a_row(measured):
    bench = Bench.load_file(measured / "bench.json")
    both = [(1, "100"), (3, "111")]
    once = [("float32", both), ("float32, one graph", [(3, "111")]), ("int8", both)]
    once += [("int8, one graph", [(3, "111")]), ("dld", both)]
    rows = [(name, depth, gates) for name, runs in once for depth, gates in runs]
    for threads in (1, 2):
        there = [row for row in bench.rows if row.threads == threads and not row.spinning]
        assert [(row.name, row.depth, row.gates) for row in there] == rows
        assert all(row.p50_ms <= row.p95_ms <= row.p99_ms and row.cpu_ms > 0 < row.rtf for row in there)
    spinning = [row for row in bench.rows if row.spinning]
    assert {(row.threads, row.kind) for row in spinning} == {(2, "pack"), (2, "one graph")}
    assert all(row.over_sleeping for row in spinning)


def test_ratios_are_to_the_first_model_and_to_full_depth(measured):
    rows = Bench.load_file(measured / "bench.json").rows
    for row in rows:
        if not row.spinning:
            assert (row.over_first is None) == (row.name == "float32")
        assert (row.over_full is None) == (row.depth == 3)


def test_sizes_are_those_of_the_files(measured, packs):
    for subject in Bench.load_file(measured / "bench.json").subjects:
        if subject.kind == "pack":
            assert subject.bytes == sum(path.stat().st_size for path in (packs / subject.name).iterdir())
        assert subject.state_sha256


def test_each_start_is_a_process_of_its_own(measured):
    for row in Bench.load_file(measured / "bench.json").rows:
        assert (row.start is None) == (row.kind == "one graph" or row.spinning)
        if row.start:
            parts = row.start.import_ms + row.start.load_ms + row.start.first_ms
            assert parts == pytest.approx(row.start.total_ms, abs=1) and row.start.peak_mib > 10


def test_the_page_names_what_was_measured(measured):
    page = (measured / "bench.md").read_text()
    for part in ("## 1 thread\n", "## 2 threads\n", "## Start\n", "float32, one graph", "(bench.png)", "spin"):
        assert part in page
    assert (measured / "bench.png").stat().st_size > 5000


def test_a_single_graph_has_the_pack_s_logits(packs):
    waveform = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    full = (True,) * 3
    [[one]] = WholeGraph(packs / "float32").logits([waveform], [full])
    [[other]] = PackRecognizer(packs / "float32").logits([waveform], [full])
    assert np.abs(one - other).max() < 1e-4
    with pytest.raises(DldError, match="it runs at full depth"):
        WholeGraph(packs / "float32").logits([waveform], [(True, False, True)])


def test_models_of_one_name_are_told_apart(packs, trained_pair, tmp_path):
    (tmp_path / "dld").symlink_to(packs / "int8")
    found = candidates([tmp_path / "dld", trained_pair / "dld"], whole=False)
    assert [one.subject.name for one in found] == [str(tmp_path / "dld"), str(trained_pair / "dld")]


def test_a_busy_machine_is_warned_of_without_what_was_not_measured():
    assert busy(None, 5.0) is None and busy(1.05, 5.0) is None
    assert "wall time" not in busy(None, 45.0) and "varied by up to 45 %" in busy(None, 45.0)


def test_what_fails_in_a_new_process_is_one_line(packs, tmp_path):
    np.savez(tmp_path / "waveforms.npz", np.zeros(16_000, np.float32))
    with pytest.raises(DldError, match=r"cannot be run in a new process: .*gates"):
        started(packs / "int8", "10", 1, tmp_path / "waveforms.npz")


@pytest.mark.parametrize("threads", ["0", "1,", "two"])
def test_threads_are_numbers(threads):
    with pytest.raises(UsageError, match="must be numbers from 1, such as 1,2"):
        make_parser().parse_args(["pack", "--data", "d", "--threads", threads])


def test_a_record_without_rows_is_refused(measured, tmp_path):
    content = json.loads((measured / "bench.json").read_text())
    (tmp_path / "bench.json").write_text(json.dumps({**content, "rows": []}))
    with pytest.raises(DldError, match="rows, subjects, utterances and seconds must have values"):
        Bench.load_file(tmp_path / "bench.json")
