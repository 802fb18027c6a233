"""Which runs are one line of a report, and its name."""

import dataclasses

import pytest

from dld.errors import DldError
from dld.reporting.lines import Lines
from dld.scoring.decodes import DecodeRecord

RECORD = DecodeRecord(
    **{"system": "dld", "test_set": "test", "depth": 1, "num_blocks": 2, "gates": "10", "policy": "first-n"},
    **{"params": 9, "gmacs_per_s": 0.1, "rtf": 0.01, "seed": 1},
)


@pytest.fixture
def lines(tmp_path):
    """The lines of runs that are given as folder=(changes of the record, settings), by folder."""

    def make(**runs):
        records = {}
        for folder, (changes, settings) in runs.items():
            path = tmp_path / folder / f"decode_test_n{changes.get('depth', 1)}"
            records[path] = dataclasses.replace(RECORD, **changes)
            path.mkdir(parents=True)
            if settings is not None:
                text = f"exp_dir: exp/{folder}\nseed: {records[path].seed}\nschedule: {{seed: {records[path].seed}}}\n"
                (tmp_path / folder / "hyperparams.yaml").write_text(text + settings)
        made = Lines(records)
        return {run.name: line for run, line in made.of_run.items()}, made

    return make


def test_runs_of_one_system_with_other_settings_are_named_by_their_folders(lines):
    names, made = lines(
        dld=({}, "lr: 0.001\n"), dld_lr2=({}, "lr: 0.002\n"), dld_seed2=({"seed": 2}, "lr: 0.001\n"), ld=({}, "lr: 1\n")
    )
    assert names == {"dld": "dld", "dld_lr2": "dld_lr2", "dld_seed2": "dld", "ld": "ld"}
    assert made.named("dld_seed2") == made.named("dld") == ["dld"]
    with pytest.raises(DldError, match="no decodes of system 'dlt'; there are ld, dld, dld_lr2"):
        made.named("dlt")


def test_another_seed_does_not_hide_other_settings(lines):
    names, _ = lines(first=({"seed": 2}, "lr: 0.002\n"), second=({}, "lr: 0.001\n"), third=({"seed": 3}, "lr: 0.001\n"))
    assert names == {"first": "first", "second": "third", "third": "third"}


def test_a_run_is_found_by_its_folder_and_by_its_system(lines):
    names, made = lines(mine=({}, "kd_weight: 2\n"), static=({"system": "static"}, "kd_weight: 1\n"))
    assert names == {"mine": "dld", "static": "static"}
    assert made.named("dld") == made.named("mine") == ["dld"]
    _, made = lines(a=({}, "kd_weight: 2\n"), b=({}, "kd_weight: 1\n"))
    assert made.named("dld") == ["a", "b"] and made.named("b") == ["b"]


def test_dedicated_networks_of_several_depths_are_one_line(lines):
    runs = {
        f"dedicated_n{n}": (
            {"system": "dedicated", "depth": n, "gates": "10" if n == 1 else "11"},
            f"depth: {n}\nvalid_depths: [{n}]\ndecode_depths: [{n}]\nnet: {{n: {n}}}\n",
        )
        for n in (1, 2)
    }
    assert set(lines(**runs)[0].values()) == {"dedicated"}


def test_runs_without_settings_are_one_line_where_nothing_is_there_twice(lines):
    assert lines(a=({}, None), b=({"seed": 2}, None), c=({"seed": 1}, None))[0] == {"a": "a", "b": "a", "c": "c"}


def test_a_run_that_was_stopped_is_marked(lines):
    names, made = lines(
        ld=({"system": "ld", "epochs": 4, "num_epochs": 9}, "lr: 1\n"),
        dld=({"epochs": 9, "num_epochs": 9}, "lr: 1\n"),
        dld_seed2=({"epochs": 3, "num_epochs": 9, "seed": 2}, "lr: 1\n"),
    )
    assert names["ld"] == "ld (epoch 4 of 9)" and names["dld"] == names["dld_seed2"] == "dld (1 of 2 runs stopped)"
    assert made.named("ld") == ["ld (epoch 4 of 9)"]


def test_two_lines_never_have_one_name(lines):
    names, _ = lines(dld=({"system": "ld"}, "lr: 1\n"), other=({"system": "dld"}, "lr: 2\n"))
    assert names == {"dld": "ld", "other": "dld"}
    names, _ = lines(a=({"system": "b"}, None), b=({"system": "x"}, "lr: 1\n"), c=({"system": "x"}, "lr: 2\n"))
    assert names == {"a": "b", "b": "b (x)", "c": "c"}
