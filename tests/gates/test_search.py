"""The search of a gate table: what it says, and what an interrupted one leaves."""

import hashlib
import json
import logging
import shutil

import pytest

from dld.bin import gate_table
from dld.decoding.evaluation import Evaluator
from dld.files import read_json
from dld.gates import GATE_TABLE
from dld.gates import search as search_module
from dld.gates.partial import Partial
from dld.gates.search import Quality, search_gate_table
from dld.progress import Interval

N = 5
MADE_FROM = {"state_sha256": "a" * 64, "data": {"ids": "b"}}


class Evaluation:
    """Qualities that are equal for equal vectors and else arbitrary; interrupted before a depth, if asked."""

    def __init__(self, interrupt_at=None):
        self.interrupt_at, self.depths = interrupt_at, []

    def __call__(self, vectors):
        n = sum(vectors[0])
        if n == self.interrupt_at:
            raise KeyboardInterrupt
        self.depths.append(n)
        digests = [hashlib.sha256(bytes(gates)).digest() for gates in vectors]
        return [Quality(digest[0] / 2.55, digest[1] / 51) for digest in digests]


def partial(tmp_path, **others):
    return Partial(tmp_path / "partial.json", {**MADE_FROM, **others})


def interrupted(tmp_path, at, **others):
    with pytest.raises(KeyboardInterrupt):
        search_gate_table(Evaluation(at), N, False, partial(tmp_path, **others))


@pytest.mark.parametrize("at", range(N, 0, -1))
def test_an_interrupted_search_resumes_to_the_equal_table(tmp_path, at):
    whole = search_gate_table(Evaluation(), N, False)
    interrupted(tmp_path, at)
    rest = Evaluation()
    resumed = search_gate_table(rest, N, False, partial(tmp_path))
    assert resumed == whole and list(resumed.vectors) == list(whole.vectors)
    assert json.dumps(resumed.about) == json.dumps(whole.about)
    assert rest.depths == list(range(at, 0, -1))


def test_a_search_that_is_interrupted_twice_resumes(tmp_path):
    interrupted(tmp_path, 4)
    interrupted(tmp_path, 2)
    rest = Evaluation()
    assert search_gate_table(rest, N, False, partial(tmp_path)) == search_gate_table(Evaluation(), N, False)
    assert rest.depths == [2, 1]


@pytest.mark.parametrize("others", [{"state_sha256": "c" * 64}, {"data": {"ids": "d"}}, {"batch_seconds": 30.0}])
def test_what_a_search_of_another_model_or_other_data_left_is_not_used(tmp_path, others, caplog):
    interrupted(tmp_path, 2)
    rest = Evaluation()
    with caplog.at_level(logging.INFO):
        search_gate_table(rest, N, False, partial(tmp_path, **others))
    assert rest.depths == [5, 4, 3, 2, 1]
    assert "is of another model or other data; the search begins at full depth" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "{",
        lambda content: json.dumps({**content, "depths": {"1": content["depths"]["5"]}}),
        lambda content: json.dumps({**content, "depths": {"5": content["depths"]["4"]}}),
        lambda content: json.dumps({**content, "depths": {"5": {**content["depths"]["5"], "wer": "low"}}}),
        lambda content: json.dumps({**content, "depths": {"5": {**content["depths"]["5"], "gates": "1"}}}),
    ],
)
def test_a_damaged_file_is_not_used(tmp_path, damage, caplog):
    interrupted(tmp_path, 3)
    path = tmp_path / "partial.json"
    path.write_text(damage(read_json(path)))
    rest = Evaluation()
    table = search_gate_table(rest, N, False, partial(tmp_path))
    assert table == search_gate_table(Evaluation(), N, False)
    assert rest.depths == [5, 4, 3, 2, 1]
    assert "what an interrupted search left cannot be used" in caplog.text


def test_each_depth_is_a_line_with_what_is_done_and_left(monkeypatch, caplog):
    now = [0.0]
    monkeypatch.setattr(search_module.time, "monotonic", lambda: now[0])
    evaluation = Evaluation()

    def evaluate(vectors):
        now[0] += 60.0 * len(vectors)
        return evaluation(vectors)

    with caplog.at_level(logging.INFO):
        table = search_gate_table(evaluate, N, False)
    # 2 candidates at full depth, then those that close one gate and the evenly spaced one: 6, 5, 4, 3.
    tried = ["; 2 of 20 candidates tried, 18 min left", "; 8 of 20 candidates tried, 12 min left"]
    tried += ["; 13 of 20 candidates tried, 7 min left", "; 17 of 20 candidates tried, 3 min left", ""]
    rows = table.about["depths"]
    assert caplog.messages == [
        f"depth {n}/5: best {rows[str(n)]['gates']} with {rows[str(n)]['wer']:.2f} % of {count} candidates "
        f"(evenly spaced {rows[str(n)]['evenly_spaced_wer']:.2f} %){end}"
        for n, count, end in zip((5, 4, 3, 2, 1), (2, 6, 5, 4, 3), tried, strict=True)
    ]


def test_with_a_progress_bar_there_are_no_lines(caplog):
    with caplog.at_level(logging.INFO):
        search_gate_table(Evaluation(), N, True)
    assert caplog.messages == []


@pytest.fixture
def searched(trained_pair, tiny_corpus, tmp_path):
    """Searches a copy of a student; interrupted before a depth, if asked."""
    shutil.copytree(trained_pair / "dld", tmp_path / "dld")

    def search(monkeypatch=None, at=None):
        real = Evaluator.__call__

        def evaluate(evaluator, vectors):
            if sum(vectors[0]) == at:
                raise KeyboardInterrupt
            return real(evaluator, vectors)

        if at is not None:
            monkeypatch.setattr(Evaluator, "__call__", evaluate)
        arguments = ["--exp", str(tmp_path / "dld"), "--data", str(tiny_corpus / "dev"), "--progress", "false"]
        status = gate_table.main(arguments)
        if at is not None:
            monkeypatch.setattr(Evaluator, "__call__", real)
        return status, tmp_path / "dld"

    return search


def test_the_command_resumes_and_leaves_the_equal_table_alone(searched, monkeypatch, caplog):
    _, folder = searched()
    whole = (folder / GATE_TABLE).read_bytes()
    (folder / GATE_TABLE).unlink()
    status, _ = searched(monkeypatch, at=1)
    assert status == 130 and (folder / gate_table.PARTIAL).exists() and not (folder / GATE_TABLE).exists()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert searched()[0] == 0
    assert (folder / GATE_TABLE).read_bytes() == whole
    assert not (folder / gate_table.PARTIAL).exists()
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("dld")]
    assert messages[0].startswith(f"searching gates for 3 depths of {folder} on ") and " utterances, 0.0" in messages[0]
    assert messages[1] == "depths 2 to 3 are there from an interrupted search"
    assert messages[2].startswith("depth 1/3: best ")


def test_a_long_pass_over_the_data_says_how_far_it_is(searched, monkeypatch, caplog):
    monkeypatch.setattr(Interval, "due", lambda interval: True)
    with caplog.at_level(logging.INFO):
        searched()
    assert any(message.startswith("front end: batch 1/") for message in caplog.messages)
    assert any(message.startswith("4 candidates: batch 1/") for message in caplog.messages)
