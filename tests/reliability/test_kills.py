"""A training that was killed, wherever that was, resumes and ends with the weights of one that was not."""

import json
import random
import re
import shutil
import signal

import pytest

from dld.files import read_json

SYSTEMS = ("static", "ld", "dld", "dld_cached", "dld_plus", "early_exit")


def result(folder):
    """What a finished run must have in common with an uninterrupted one."""
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return read_json(folder / "model.json")["state_sha256"], [{**entry, "seconds": 0} for entry in log]


@pytest.fixture(scope="module")
def uninterrupted(ask, tiny_request, tmp_path_factory):
    """Results of runs that were never killed, by system, and the seconds they took."""
    known = {}

    def get(system):
        if system not in known:
            folder = tmp_path_factory.mktemp("whole") / system
            answer = ask(tiny_request(system, folder))
            assert answer["status"] == 0, (folder.parent / f"{system}.log").read_text()
            known[system] = (*result(folder), answer)
        return known[system]

    return get


def finish(ask, tiny_request, system, folder):
    """Resume a run to its end; nothing half-written may be left."""
    answer = ask(tiny_request(system, folder))
    assert answer["status"] == 0, (folder.parent / f"{folder.name}.log").read_text()[-2000:]
    left = [path.name for path in [*folder.iterdir(), *(folder / "save").iterdir()]]
    assert not [name for name in left if name.startswith((".saving", ".deleting", "damaged")) or ".part" in name]
    return result(folder)


def kill_at_random(ask, tiny_request, uninterrupted, system, tmp_path, kills, in_a_row, seed=0):
    """Kill runs of a system at random times, several times in a row, and compare what they end with."""
    *expected, whole = uninterrupted(system)
    draw = random.Random(f"{system} {seed}")
    killed = 0
    while killed < kills:
        folder = tmp_path / f"run{killed}"
        for _ in range(in_a_row):
            answer = ask(tiny_request(system, folder, after=draw.uniform(0.1, whole["seconds"])))
            assert answer["status"] in (0, -signal.SIGKILL)
            killed += answer["status"] != 0
        assert finish(ask, tiny_request, system, folder) == tuple(expected)
        shutil.rmtree(folder)
    return killed


def test_a_run_killed_at_random_times_ends_with_the_same_weights(ask, tiny_request, uninterrupted, tmp_path):
    assert kill_at_random(ask, tiny_request, uninterrupted, "ld", tmp_path, kills=3, in_a_row=3) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_twenty_random_kills_change_nothing(ask, tiny_request, uninterrupted, tmp_path, system, record_property):
    killed = kill_at_random(ask, tiny_request, uninterrupted, system, tmp_path, kills=20, in_a_row=4, seed=1)
    record_property("kills", killed)
    assert killed >= 20


def kill_at_events(ask, tiny_request, expected, system, tmp_path, events):
    """Kill runs of a system at given steps of the writing and deleting of checkpoints."""
    for event in events:
        folder = tmp_path / f"event{event}"
        # Checkpoints within epochs come when time has passed; without them the steps have the same numbers every time.
        answer = ask(tiny_request(system, folder, event=event, ckpt_interval_minutes=0))
        assert answer["status"] == -signal.SIGKILL, f"step {event} did not come"
        assert finish(ask, tiny_request, system, folder) == expected, f"step {event}"
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def steps(ask, tiny_request, tmp_path_factory):
    """Number of steps in which a run of a system writes and deletes its checkpoints."""

    def count(system):
        folder = tmp_path_factory.mktemp("steps") / system
        return ask(tiny_request(system, folder, ckpt_interval_minutes=0))["events"]

    return count


def test_a_run_killed_while_a_checkpoint_is_written_resumes(ask, tiny_request, uninterrupted, steps, tmp_path):
    *expected, _ = uninterrupted("ld")
    number = steps("ld")
    assert number > 60
    events = [1, number // 3 + 2, number // 2, 2 * number // 3 - 1, number]
    kill_at_events(ask, tiny_request, tuple(expected), "ld", tmp_path, events)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_kill_at_every_step_of_a_checkpoint_changes_nothing(
    ask, tiny_request, uninterrupted, steps, tmp_path, system, record_property
):
    *expected, _ = uninterrupted(system)
    number = steps(system)
    # Of one system all checkpoints, of the others the second of three.
    events = range(1, number + 1) if system == "ld" else range(number // 3, 2 * number // 3 + 1)
    kill_at_events(ask, tiny_request, tuple(expected), system, tmp_path, events)
    record_property("kills", len(events))


@pytest.mark.parametrize(
    "when", [{"batch": 3}, {"batch": 6}, {"batch": 9}, {"validation": 1}, {"validation": 2}], ids=str
)
def test_sigterm_saves_what_was_trained_and_the_run_resumes(ask, tiny_request, uninterrupted, tmp_path, when):
    *expected, _ = uninterrupted("ld")
    log, folder = tmp_path / "ld.log", tmp_path / "ld"
    # Without checkpoints within epochs, but for the one that the signal asks for.
    answer = ask(tiny_request("ld", folder, signal=signal.SIGTERM, ckpt_interval_minutes=0, **when))
    assert answer["status"] == 128 + signal.SIGTERM
    said = log.read_text().splitlines()[-1]
    match = re.search(r"stopped by SIGTERM \(after update (\d+), .* saved\); the same command resumes", said)
    assert int(match[1]) == (when["batch"] if "batch" in when else 6 * when["validation"])
    newest = max((folder / "save").glob("CKPT+*"), key=lambda path: path.stat().st_mtime_ns)
    assert f"optimizer_step: {match[1]}\n" in (newest / "brain.ckpt").read_text()
    assert finish(ask, tiny_request, "ld", folder) == tuple(expected)
