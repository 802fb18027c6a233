"""Gate vectors, schedules, policies and tables."""

import json
from collections import Counter

import pytest

from dld import gates as g
from dld.errors import DldError

N = 12
SCHEDULES = {
    "bernoulli": lambda seed=0: g.Bernoulli(N, p=0.5, seed=seed),
    "uniform": lambda seed=0: g.UniformDepth(N, min_depth=2, seed=seed),
    "rising": lambda seed=0: g.RisingDrop(N, p_max=0.8, seed=seed),
    "sandwich": lambda seed=0: g.Sandwich(N, min_depth=2, num_random=2, seed=seed),
}


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_goes_on_where_its_saved_state_was(make):
    schedule = make()
    for _ in range(5):
        schedule.draw()
    state = json.loads(json.dumps(schedule.state_dict()))
    expected = [schedule.draw() for _ in range(20)]
    resumed = make(seed=99)
    resumed.load_state_dict(state)
    assert [resumed.draw() for _ in range(20)] == expected


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_draws_from_its_own_generator(make):
    import random

    random.seed(1)
    before = random.getstate()
    first = [make(seed=3).draw() for _ in range(3)]
    assert random.getstate() == before
    assert first == [make(seed=3).draw() for _ in range(3)]


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
def test_no_schedule_closes_every_gate(make):
    schedule = make()
    for _ in range(300):
        for vector in schedule.draw().vectors:
            assert len(vector) == N
            assert 1 <= g.depth(vector) <= N


def test_bernoulli_redraws_when_all_gates_are_closed():
    schedule = g.Bernoulli(2, p=0.9, seed=0)
    counts = Counter(schedule.draw().vectors[0] for _ in range(4000))
    assert (False, False) not in counts
    # Among the draws that are left, both gates open with probability 0.01 / 0.19.
    assert counts[(True, True)] / 4000 == pytest.approx(0.01 / 0.19, abs=0.015)


def test_bernoulli_drops_each_block_as_often_as_told():
    schedule = g.Bernoulli(N, p=0.3, seed=0)
    draws = [schedule.draw().vectors[0] for _ in range(3000)]
    for block in range(N):
        assert sum(not vector[block] for vector in draws) / 3000 == pytest.approx(0.3, abs=0.04)


def test_a_ramp_raises_the_drop_probability_over_epochs():
    schedule = g.Bernoulli(N, p=g.Ramp(0.0, 0.5, epochs=4), seed=0)
    assert schedule.draw().vectors == [(True,) * N]
    schedule.set_epoch(2)
    assert schedule.drop_rates() == [0.25] * N
    schedule.set_epoch(9)
    assert schedule.drop_rates() == [0.5] * N


def test_rising_drop_never_drops_the_first_block():
    rates = g.RisingDrop(N, p_max=0.8).drop_rates()
    assert rates[0] == 0.0
    assert rates[-1] == pytest.approx(0.8)
    assert rates == sorted(rates)


def test_uniform_depth_gives_each_depth_the_same_share():
    schedule = g.UniformDepth(6, min_depth=2, seed=0)
    counts = Counter(g.depth(schedule.draw().vectors[0]) for _ in range(5000))
    assert set(counts) == {2, 3, 4, 5, 6}
    assert all(count / 5000 == pytest.approx(0.2, abs=0.03) for count in counts.values())


def test_a_sandwich_holds_the_full_and_the_smallest_network():
    vectors = g.Sandwich(N, min_depth=3, num_random=2, spacing="evenly-spaced", seed=0).draw().vectors
    assert vectors[:2] == [(True,) * N, g.evenly_spaced(N, 3)]
    assert len(vectors) == 4


@pytest.mark.parametrize("policy", ["evenly-spaced", "first-n", "first-and-last", "shallow-last", "random"])
def test_a_policy_opens_as_many_gates_as_the_depth(policy):
    for blocks in (1, 4, 12, 24):
        for n in range(1, blocks + 1):
            vector = g.gates_for_depth(policy, blocks, n)
            assert len(vector) == blocks
            assert g.depth(vector) == n
            assert vector == g.gates_for_depth(policy, blocks, n)


def test_evenly_spaced_leaves_gaps_that_differ_by_one_at_most():
    for n in range(2, N + 1):
        positions = [block for block, gate in enumerate(g.evenly_spaced(N, n)) if gate]
        gaps = {b - a for a, b in zip(positions, positions[1:], strict=False)}
        assert max(gaps) - min(gaps) <= 1
        assert positions[0] == 0
        assert positions[-1] == N - 1


def test_first_and_last_adds_one_block_for_each_depth():
    vectors = [g.first_and_last(N, n) for n in range(1, N + 1)]
    paths = {tuple(block for block in range(end) if vector[block]) for vector in vectors for end in range(1, N + 1)}
    assert len({path for path in paths if path}) == 2 * N - 1
    assert vectors[-1] == (True,) * N


def test_shallow_last_has_the_last_block_up_to_a_third_of_the_depth():
    for n in range(1, N):
        assert g.shallow_last(N, n) == (g.first_and_last(N, n) if n <= N / 3 else g.first_n(N, n))


@pytest.mark.parametrize("wrong", [0, -1, 13, "many", None, 2.5j])
def test_a_depth_outside_the_encoder_is_refused(wrong):
    with pytest.raises(DldError, match="depth"):
        g.check_depth(wrong, N)


@pytest.mark.parametrize("wrong", ["0,4", "4,4", "", "2,x", "13"])
def test_a_list_of_depths_that_cannot_be_is_refused(wrong):
    with pytest.raises(DldError, match="depth"):
        g.parse_depths(wrong, N)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(DldError, match="'middle'.*evenly-spaced, first-n, first-and-last, shallow-last, random, table"):
        g.gates_for_depth("middle", N, 3)


def test_the_policy_table_without_a_table_says_what_makes_one():
    with pytest.raises(DldError, match="stage 7"):
        g.gates_for_depth("table", N, 3)


def test_a_table_survives_its_file(tmp_path):
    table = g.GateTable(4, {1: (False, True, False, False), 4: (True,) * 4}, {"data": "dev"})
    table.save(tmp_path / "table.json")
    loaded = g.GateTable.load(tmp_path / "table.json")
    assert loaded == table
    assert g.gates_for_depth("table", 4, 1, table=loaded) == (False, True, False, False)
    with pytest.raises(DldError, match="no depth 2; it has 1, 4"):
        loaded.gates(2)


@pytest.mark.parametrize(
    "content",
    ['{"num_blocks": 4}', '{"num_blocks": 4, "table": {"2": "1000"}}', '{"num_blocks": 4, "table": {"1": "10"}}', "[]"],
)
def test_a_faulty_table_names_its_file(tmp_path, content):
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(DldError, match="table.json"):
        g.GateTable.load(tmp_path / "table.json")


@pytest.mark.parametrize("wrong", ["0000", "10", "10x1", ""])
def test_a_gate_vector_that_does_not_fit_is_refused(wrong):
    with pytest.raises(DldError, match="gate"):
        g.parse_gates(wrong, 4)


@pytest.mark.parametrize("p", [1.0, -0.1, g.Ramp(0.0, 1.0, 5)])
def test_a_drop_probability_must_leave_a_chance_to_stay(p):
    with pytest.raises(DldError, match="drop probability"):
        g.Bernoulli(N, p=p)


def test_depths_can_be_those_that_will_be_run():
    schedule = g.UniformDepth(N, depths=[8, 2, 4], spacing="evenly-spaced", seed=0)
    drawn = {gates for _ in range(100) for gates in schedule.draw().vectors}
    assert drawn == {g.evenly_spaced(N, n) for n in (2, 4, 8)}
    schedule = g.Sandwich(N, depths=[2, 4, 8, N], spacing="evenly-spaced", seed=0)
    drawn = [[g.depth(gates) for gates in schedule.draw().vectors] for _ in range(100)]
    assert all(depths[:2] == [N, 2] for depths in drawn)
    # What is in the step already is not drawn again.
    assert {depths[2] for depths in drawn} == {4, 8}
    both = g.Sandwich(N, depths=[2, 4, 8, N], num_random=2, spacing="evenly-spaced", seed=0)
    assert all({g.depth(gates) for gates in both.draw().vectors} == {2, 4, 8, N} for _ in range(20))
    assert not schedule.draw().share_prefix and g.Sandwich(N, share_prefix=True).draw().share_prefix
    with pytest.raises(DldError, match="none of the depths"):
        g.UniformDepth(N, min_depth=5, depths=[2, 4])


@pytest.mark.parametrize("wrong", [{2, 4}, None, 2.5])
def test_depths_that_are_not_a_list_are_refused_with_what_is_expected(wrong):
    with pytest.raises(DldError, match=r"depths is .*it must be all, or a list"):
        g.parse_depths(wrong, N)


@pytest.mark.parametrize("kind", [g.Bernoulli, g.RisingDrop, g.UniformDepth, g.Sandwich])
def test_without_a_seed_every_run_draws_the_same(kind):
    first, second = kind(N), kind(N, seed=0)
    assert [first.draw() for _ in range(20)] == [second.draw() for _ in range(20)]


def test_half_of_the_gates_are_closed_where_no_probability_is_given():
    assert g.Bernoulli(3).drop_rates() == [0.5] * 3
    assert g.RisingDrop(3).drop_rates()[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("settings", [("a", 1.0, 1), (0.0, None, 1), (0.0, 1.0, -1)])
def test_a_ramp_that_cannot_be_is_refused(settings):
    with pytest.raises(DldError, match="Ramp"):
        g.Ramp(*settings)


def test_a_fixed_schedule_always_draws_its_vector():
    schedule = g.Fixed(N, 4, policy="first-n")
    assert [schedule.draw().vectors for _ in range(3)] == [[g.first_n(N, 4)]] * 3


def test_exits_end_at_full_depth_and_share_their_blocks():
    schedule = g.Exits(N, [6, 2])
    assert [g.depth(gates) for gates in schedule.draw().vectors] == [2, 6, N]
    assert schedule.draw().share_prefix and schedule.draw().weights == [1 / 3] * 3


def test_exits_train_networks_of_other_blocks_as_well():
    vectors = g.Exits(N, [2, 4, 6], spacing="shallow-last").draw().vectors
    assert set(vectors) == {g.first_n(N, n) for n in (2, 4, 6, N)} | {g.first_and_last(N, n) for n in (2, 4)}
    assert len(vectors) == 6
    with pytest.raises(DldError, match="spacing"):
        g.Exits(N, [2], spacing="random")


def test_exits_of_another_schedule_cut_its_vectors():
    schedule = g.WithExits(g.Bernoulli(N, p=0.8, seed=3), exits=[3, 6], weight=0.4)
    counts = set()
    for _ in range(200):
        (whole, *exits), weights, _ = schedule.draw()
        cut = [tuple(gate and index < k for index, gate in enumerate(whole)) for k in (3, 6)]
        assert exits == [vector for vector in cut if any(vector)]
        assert sum(weights) == pytest.approx(1.0)
        assert weights[0] == pytest.approx(0.6 if exits else 1.0)
        counts.add(len(exits))
    assert counts == {0, 1, 2}


@pytest.mark.parametrize(
    ("blocks", "count", "positions"),
    [(12, 3, [3, 6, 9]), (4, 3, [1, 2, 3]), (3, 3, [1, 2]), (12, 1, [6]), (5, 2, [2, 3])],
)
def test_so_many_exits_are_spread_evenly(blocks, count, positions):
    schedule = g.WithExits(g.AllOpen(blocks), exits=count)
    assert schedule.exits == positions
    # A cut vector begins as the whole one does, so the blocks run once.
    assert schedule.draw().share_prefix


def test_exits_of_a_sandwich_have_the_weights_of_their_vectors():
    schedule = g.WithExits(g.Sandwich(4, min_depth=4, num_random=0, spacing="first-n"), exits=[1], weight=0.5)
    assert schedule.draw().weights == [0.25] * 4


def test_exits_have_the_state_and_the_clock_of_the_schedule_within():
    ramp = g.Ramp(0.0, 0.9, 1)
    one, two = (g.WithExits(g.Bernoulli(N, p=ramp, seed=seed), exits=[6]) for seed in (1, 2))
    for schedule in (one, two):
        schedule.set_epoch(1)
    two.load_state_dict(one.state_dict())
    drawn = [one.draw() for _ in range(20)]
    assert drawn == [two.draw() for _ in range(20)]
    assert any(g.depth(draw.vectors[0]) < N for draw in drawn)


@pytest.mark.parametrize("settings", [{"exits": [N]}, {"exits": [0]}, {"exits": [3], "weight": 1.0}])
def test_exits_that_cannot_be_are_refused(settings):
    with pytest.raises(DldError):
        g.WithExits(g.AllOpen(N), **settings)
