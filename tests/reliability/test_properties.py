"""Properties that hold for every input, tried on many: parsers, gates, schedules, scoring, decoding, averages.

The inputs are the same in every run.
"""

import itertools
import json
import random
import sys
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dld import gates as g
from dld.config import parse_overrides
from dld.data import kaldi
from dld.data.kaldi.tables import TABLES, has_odd_character, read_entries, read_table
from dld.data.tokenizer import train as train_tokenizer
from dld.decoding.beam import BeamSearch, BeamSettings
from dld.decoding.best_path import greedy
from dld.errors import DldError
from dld.scoring import align, error_counts, wer
from dld.scoring.bootstrap import paired_bootstrap, wer_interval
from dld.training.checkpoints import average_states
from dld.training.optim import Noam, WarmupCosine

# hypothesis asks every loaded module for its file. SpeechBrain's lazy modules would then import what is not installed.
for module in list(sys.modules.values()):
    if type(module).__name__ in ("LazyModule", "DeprecatedModuleRedirect"):
        vars(module).setdefault("__file__", None)

FIXTURES = [HealthCheck.function_scoped_fixture]


def many(number):
    """Settings of a property: this number of examples, the same in every run."""
    return settings(max_examples=number, deadline=None, derandomize=True, database=None, suppress_health_check=FIXTURES)


def text_without(*categories, **options):
    return st.text(st.characters(exclude_categories=["Cs", *categories]), **options)


# ---------------------------------------------------------------- tables

#: Words as Kaldi's tables have them: no spaces, no control characters, no separators.
WORD = text_without("Cc", "Z", min_size=1, max_size=8).filter(lambda word: word == "".join(word.split()))
TABLE = st.dictionaries(
    WORD.filter(lambda word: not word.startswith("\ufeff")), st.lists(WORD, max_size=4), min_size=1, max_size=6
)


@many(100)
@given(TABLE)
def test_a_table_that_was_written_is_read_back(tmp_path, table):
    path = tmp_path / "text"
    expected = {key: " ".join(words) for key, words in table.items()}
    path.write_text("".join(f"{key} {value}".rstrip(" ") + "\n" for key, value in expected.items()), encoding="utf-8")
    assert read_table(path) == expected


#: Bytes that are almost a table, and any others.
ALMOST = st.lists(
    st.sampled_from([b"utt-1", b"utt-2", b" ", b"\t", b"\n", b"\r\n", b"0", b"1.5", b"-1", b"1e400", b"nan", b"\xff"]),
    max_size=16,
).map(b"".join)


@pytest.mark.parametrize("name", list(TABLES))
@many(60)
@given(content=ALMOST | st.binary(max_size=60))
def test_any_bytes_are_a_table_or_one_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        table = read_entries(path, *TABLES[name])
    except DldError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert all(isinstance(value, str) for value in table.values())


@many(100)
@given(st.sampled_from(["segments", "text", "utt2spk", "utt2dur", "wav.scp"]), ALMOST)
def test_a_directory_with_any_bytes_in_a_table_is_loaded_or_one_error(tmp_path, name, content):
    kaldi.write(tmp_path, [kaldi.Utterance(f"utt-{n}", "s", "one", f"{n}.wav", 0.0, None, 1.5) for n in (1, 2)])
    (tmp_path / "segments").unlink(missing_ok=True)
    (tmp_path / name).write_bytes(content)
    try:
        utterances = kaldi.load(tmp_path)
    except DldError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error)
    else:
        assert [u.id for u in utterances] == ["utt-1", "utt-2"]


#: Seconds, as far apart as microseconds.
SECONDS = st.integers(0, 10**11).map(lambda number: number / 1e6)
#: What an id may be; hypothesis also tries the characters that the code names, such as a byte order mark.
ID = WORD.filter(lambda word: not has_odd_character(word))
UTTERANCE = st.tuples(ID, st.lists(WORD, min_size=1, max_size=4), SECONDS.map(lambda s: s + 0.01), SECONDS)


@many(60)
@given(st.lists(UTTERANCE, min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_a_directory_that_was_written_is_read_back(tmp_path, rows):
    written = [
        kaldi.Utterance("u-" + name, "s", " ".join(words), "talk.wav", start, start + length, length, "talk")
        for name, words, length, start in rows
        if start + length > start
    ]
    if not written:
        return
    kaldi.write(tmp_path, written)
    found = kaldi.load(tmp_path)
    for one, other in zip(found, sorted(written, key=lambda u: u.id), strict=True):
        assert (one.id, one.text, one.start, one.end) == (other.id, other.text, other.start, other.end)
        assert one.duration == pytest.approx(other.duration, abs=1e-6)


# ---------------------------------------------------------------- gates

VECTOR = st.lists(st.booleans(), min_size=1, max_size=32).filter(any).map(tuple)


@many(200)
@given(VECTOR)
def test_a_gate_vector_that_was_written_is_read_back(vector):
    assert g.parse_gates(g.format_gates(vector), len(vector)) == vector


@many(300)
@given(st.text(max_size=12) | st.text("01, \n", max_size=12))
def test_any_text_is_a_gate_vector_or_one_error(text):
    try:
        assert g.format_gates(g.parse_gates(text)) == text
    except DldError as error:
        assert "gate vector" in str(error)


@many(400)
@given(st.text(max_size=12) | st.text("0123456789, -_.all", max_size=12), st.integers(1, 32))
def test_any_text_is_a_list_of_depths_or_one_error(text, blocks):
    try:
        depths = g.parse_depths(text, blocks)
    except DldError as error:
        assert "depth" in str(error)
    else:
        assert depths and len(set(depths)) == len(depths)
        assert all(isinstance(n, int) and 1 <= n <= blocks for n in depths)


def test_every_policy_opens_as_many_gates_as_the_depth_of_every_encoder():
    for blocks in range(1, 33):
        table = g.GateTable(blocks, {n: g.first_n(blocks, n) for n in range(1, blocks + 1)})
        for n, policy in itertools.product(range(1, blocks + 1), g.POLICIES):
            vector = g.gates_for_depth(policy, blocks, n, table=table)
            assert (len(vector), g.depth(vector)) == (blocks, n)


@st.composite
def schedules(draw):
    """A function that makes a drop schedule of any kind and any settings."""
    blocks = draw(st.integers(1, 16))
    rate = draw(st.floats(0, 0.9))
    value = draw(st.sampled_from([rate, g.Ramp(0.0, rate, draw(st.floats(0, 5)))]))
    spacing = draw(st.sampled_from(["random", "evenly-spaced", "first-n", "first-and-last", "shallow-last"]))
    least, seed = draw(st.integers(1, blocks)), draw(st.integers(0, 9))
    makers = [
        lambda: g.AllOpen(blocks, seed),
        lambda: g.Fixed(blocks, least, seed=seed),
        lambda: g.Exits(blocks, [least], "first-n" if spacing == "random" else spacing),
        lambda: g.Bernoulli(blocks, value, seed),
        lambda: g.RisingDrop(blocks, value, seed),
        lambda: g.UniformDepth(blocks, least, spacing, seed),
        lambda: g.Sandwich(blocks, least, draw_count, spacing, seed),
    ]
    draw_count = draw(st.integers(0, 4))
    make = draw(st.sampled_from(makers))
    if blocks > 1 and draw(st.booleans()):
        exit_after, weight = draw(st.integers(1, blocks - 1)), draw(st.floats(0.1, 0.9))
        return lambda: g.WithExits(make(), [exit_after], weight)
    return make


@many(150)
@given(schedules(), st.lists(st.floats(0, 8), max_size=3))
def test_every_schedule_draws_valid_vectors_and_resumes_exactly(make, epochs):
    # Two ranks of a distributed run make the same schedule and must draw the same.
    one, other = make(), make()
    for epoch in [0.0, *epochs]:
        for schedule in (one, other):
            schedule.set_epoch(epoch)
        drawn = one.draw()
        assert other.draw() == drawn
        vectors, weights, _ = drawn
        assert len(vectors) == len(weights) >= 1
        assert sum(weights) == pytest.approx(1.0) and min(weights) >= 0
        for vector in vectors:
            assert g.check_gates(vector, one.num_blocks) == vector
    resumed = make()
    for _ in range(3):
        resumed.draw()
    resumed.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert [resumed.draw() for _ in range(5)] == [one.draw() for _ in range(5)]


# ---------------------------------------------------------------- options


@many(300)
@given(st.lists(st.text(max_size=8) | st.text("-=ab.", max_size=6), max_size=5))
def test_any_arguments_are_overrides_or_one_error(arguments):
    try:
        overrides = parse_overrides(arguments)
    except DldError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(key, str) and isinstance(value, str) for key, value in overrides.items())


# ---------------------------------------------------------------- scoring


def edit_distance(first, second):
    """The least number of insertions, deletions and substitutions, by the textbook's table."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def test_alignments_have_the_exact_edit_distance_on_10000_random_pairs():
    dice = random.Random(0)
    pairs = []
    for _ in range(10_000):
        words = "abcdefgh"[: dice.randint(1, 8)]
        pairs.append(tuple(dice.choices(words, k=dice.randint(0, 10)) for _ in range(2)))
    errors = 0
    for ref, hyp in pairs:
        alignment = align(ref, hyp)
        distance = edit_distance(ref, hyp)
        errors += distance
        assert alignment.errors == alignment.subs + alignment.ins + alignment.dels == distance
        assert alignment.correct + alignment.subs + alignment.dels == alignment.words == len(ref)
        assert alignment.correct + alignment.subs + alignment.ins == len(hyp)
        assert [a for operation, a, _ in alignment.ops if operation != "I"] == ref
        assert [b for operation, _, b in alignment.ops if operation != "D"] == hyp
        assert all((operation == "C") == (a == b) for operation, a, b in alignment.ops)
    total = error_counts(pairs)
    assert (total.errors, total.words) == (errors, sum(len(ref) for ref, _ in pairs))
    assert (total.sentences, total.sentence_errors) == (len(pairs), sum(ref != hyp for ref, hyp in pairs))
    assert wer(*([" ".join(side) for side in sides] for sides in zip(*pairs, strict=True))) == total.wer


COUNTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12)


@many(60)
@given(COUNTS, st.integers(0, 3))
def test_bootstrap_intervals_hold_together(counts, seed):
    first, second, words = zip(*counts, strict=True)
    low, high = wer_interval(first, words, 300, seed)
    rates = [100 * e / w for e, w in zip(first, words, strict=True)]
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9
    there, back = (paired_bootstrap(*pair, words, 300, seed) for pair in ((first, second), (second, first)))
    assert 2 / 301 <= there.p == back.p <= 1.0
    assert there.delta == pytest.approx(-back.delta)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.low <= there.high


# ---------------------------------------------------------------- decoding


@many(150)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 3))
def test_greedy_decoding_merges_repeats_and_removes_blanks(paths, blank):
    expected = [[unit for unit, _ in itertools.groupby(path) if unit != blank] for path in paths]
    assert [greedy(np.eye(4)[path], blank) for path in paths] == expected


UNITS = ["<blk>", "<unk>", "▁a", "▁b", "c"]


@many(60)
@given(st.integers(1, 5), st.integers(0, 10_000))
def test_a_wide_beam_finds_the_best_text_of_all(frames, seed):
    log_probs = torch.randn(frames, len(UNITS), generator=torch.Generator().manual_seed(seed)).mul(2).log_softmax(-1)
    sums = defaultdict(float)
    for path in itertools.product([0, 2, 3, 4], repeat=frames):
        units = [UNITS[unit] for unit, _ in itertools.groupby(path) if unit]
        chance = sum(log_probs[frame, unit].item() for frame, unit in enumerate(path))
        sums["".join(units).replace("▁", " ").strip()] += np.exp(chance)
    best = max(sums, key=sums.get)
    found = BeamSearch(UNITS, settings=BeamSettings(5000, -1e4, -1e4)).text(log_probs.numpy())
    # Rounding may decide between texts that are equally likely.
    assert found == best or sums[found] == pytest.approx(sums[best], rel=1e-6)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(["the cat sat", "a café is that"], tmp_path_factory.mktemp("lang"), vocab_size=24)


@many(200)
@given(st.text("thecasiéf ", max_size=30))
def test_a_text_of_known_characters_is_encoded_and_decoded(tokenizer, text):
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == " ".join(text.split())
    assert all(2 <= token < len(tokenizer) for token in tokens)


@many(200)
@given(text_without(max_size=10))
def test_any_text_is_encoded_without_loss_or_refused(tokenizer, text):
    try:
        tokens = tokenizer.encode(text)
    except DldError as error:
        assert "no token" in str(error)
    else:
        assert tokenizer.decode(tokens) == " ".join(word for word in text.split(" ") if word)


# ---------------------------------------------------------------- averages and rates


@many(100)
@given(st.integers(1, 6), st.integers(0, 9999), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_an_average_is_numpys_mean(number, seed, dtype):
    torch.manual_seed(seed)
    same = torch.randn(2, dtype=dtype)
    states = [{"w": torch.randn(3, 2, dtype=dtype), "n": torch.tensor(k), "b": same.clone()} for k in range(number)]
    mean = average_states(iter(states))
    expected = np.mean([state["w"].double().numpy() for state in states], axis=0)
    np.testing.assert_allclose(mean["w"].double().numpy(), expected, rtol=2**-8 if dtype == torch.bfloat16 else 1e-6)
    assert mean["n"].item() == 0 and torch.equal(mean["b"], same)
    assert mean["w"].data_ptr() != states[0]["w"].data_ptr()


@many(150)
@given(st.floats(1e-6, 1.0), st.integers(0, 40), st.integers(1, 120), st.floats(0.0, 0.5))
def test_warm_up_rises_and_the_cosine_falls_without_jumps(peak, warmup, after, floor):
    total = warmup + after
    rates = [WarmupCosine(peak, warmup, floor)(update, total) for update in range(1, total + 1)]
    top = max(0, warmup - 1)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(0 <= rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[-1] == pytest.approx(peak * floor, abs=1e-12 * peak)
    if warmup:
        assert rates[warmup - 1] == pytest.approx(peak)
    jumps = np.abs(np.diff(rates))
    assert len(jumps) == 0 or jumps.max() <= peak * max(1 / max(1, warmup), np.pi / 2 / after) * (1 + 1e-9)


@many(100)
@given(st.floats(1e-6, 1.0), st.integers(1, 200))
def test_noam_rises_to_its_peak_and_falls_with_the_square_root(peak, warmup):
    schedule = Noam(peak, warmup)
    rates = [schedule(update, 0) for update in range(1, 3 * warmup)]
    assert max(rates) == rates[warmup - 1] == pytest.approx(peak)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup - 1 :] == sorted(rates[warmup - 1 :], reverse=True)
    assert schedule(4 * warmup, 0) == pytest.approx(peak / 2)
