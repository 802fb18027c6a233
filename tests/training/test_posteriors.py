"""The cache of a teacher's posteriors: what it keeps, what it notices, and what a student's loss is with it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dld.data.kaldi import Utterance
from dld.errors import DldError
from dld.training.objectives import MaskedKL, SoftTarget, TopK
from dld.training.posteriors import STAMP, Contents, PosteriorCache

VOCABULARY = 12
IDS = ["a", "b", "c", "d", "e"]
FRAMES = {"a": 9, "b": 7, "c": 6, "d": 4, "e": 1}
UTTERANCES = [Utterance(name, name, "", f"{name}.wav", duration=count / 10) for name, count in FRAMES.items()]
CONTENTS = Contents("1" * 64, "2" * 64, "3" * 64, 1.0, "fp32", VOCABULARY, top_k=4)


def output(ids, scale=3.0):
    """A teacher's output for a batch: other logits for each utterance, the same whatever the batch."""
    frames = torch.tensor([FRAMES[name] for name in ids])
    logits = torch.zeros(len(ids), int(frames.max()), VOCABULARY)
    hidden = torch.zeros(len(ids), int(frames.max()), 2)
    for row, name in enumerate(ids):
        generator = torch.Generator().manual_seed(ord(name))
        logits[row, : FRAMES[name]] = scale * torch.randn(FRAMES[name], VOCABULARY, generator=generator)
        hidden[row, : FRAMES[name]] = torch.randn(FRAMES[name], 2, generator=generator)
    return ids, SoftTarget(logits, hidden), frames


def made(folder, contents=CONTENTS, **settings):
    """A cache in a folder, with two or more shards."""
    return PosteriorCache(folder, contents, UTTERANCES, **{"shard_seconds": 1.8, **settings})


def fill(cache, numbers=None):
    for number in cache.missing() if numbers is None else numbers:
        cache.write(number, [output([u.id]) for u in cache.shards[number]])
    if numbers is None:
        cache.finish()
        cache.open()
    return cache


def files(cache):
    return {path.name: path.read_bytes() for path in cache.folder.iterdir()}


# ---------------------------------------------------------------- the loss


@pytest.mark.parametrize("direction", ["teacher-student", "student-teacher"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("blank_context", [None, 1])
def test_with_all_tokens_the_loss_is_that_of_the_logits(tmp_path, direction, temperature, blank_context):
    cache = fill(made(tmp_path, replace(CONTENTS, top_k=VOCABULARY - 1, temperature=temperature)))
    ids, target, frames = output(["d", "a", "c"])
    student = torch.randn(3, 9, VOCABULARY, requires_grad=True)
    kl = MaskedKL(temperature, direction, blank_context)
    full, cached = (kl(student, teacher, frames) for teacher in (target.logits, cache.recall(ids).logits))
    torch.testing.assert_close(cached, full, rtol=1e-3, atol=1e-3)
    slopes = [torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (full, cached)]
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-2, atol=1e-4)
    assert full > 0.1


@pytest.mark.parametrize("k", [1, 3, 8])
def test_with_few_tokens_the_loss_is_the_divergence_of_their_classes_and_less_than_that_of_all(k):
    torch.manual_seed(k)
    student, teacher = 2 * torch.randn(2, 6, VOCABULARY), 2 * torch.randn(2, 6, VOCABULARY)
    top = TopK.of(teacher, k)
    coarse, full = (MaskedKL()(student, t, torch.tensor([6, 4])).item() for t in (top, teacher))
    expected = within = 0.0
    for row, frame in [(0, i) for i in range(6)] + [(1, i) for i in range(4)]:
        p, q = teacher[row, frame].double().softmax(-1), student[row, frame].double().softmax(-1)
        kept = p.argsort(descending=True)[:k]
        others = [token for token in range(VOCABULARY) if token not in kept.tolist()]
        p_rest, q_rest = p[others].sum(), q[others].sum()
        expected += (p[kept] * (p[kept] / q[kept]).log()).sum() + p_rest * (p_rest / q_rest).log()
        within += (p[others] * ((p[others] / p_rest) / (q[others] / q_rest)).log()).sum()
    assert coarse == pytest.approx(expected.item() / 10, rel=1e-4)
    # The chain rule says what it lacks.
    assert full == pytest.approx((expected + within).item() / 10, rel=1e-4)
    assert coarse < full


def test_posteriors_of_another_shape_or_temperature_are_refused():
    top = TopK.of(torch.randn(2, 6, VOCABULARY), 3)
    with pytest.raises(DldError, match=r"\(2, 5, 12\) and teacher logits \(2, 6, 12\) differ in shape"):
        MaskedKL()(torch.randn(2, 5, VOCABULARY), top, torch.tensor([5, 4]))
    with pytest.raises(DldError, match=r"posteriors at temperature 1.0 do not serve one of 2.0"):
        MaskedKL(2.0)(torch.randn(2, 6, VOCABULARY), top, torch.tensor([5, 4]))


# ---------------------------------------------------------------- what is kept


def test_a_batch_gets_its_own_utterances_and_zeros_on_padded_frames(tmp_path):
    cache = fill(made(tmp_path, replace(CONTENTS, width=2)))
    assert len(cache.shards) > 1 and cache.nbytes == sum(FRAMES.values()) * cache.contents.record.itemsize
    ids, target, frames = output(["e", "a", "d"])
    recalled = cache.recall(ids)
    expected = TopK.of(target.logits, 4)
    for row, count in enumerate(frames.tolist()):
        assert torch.equal(recalled.logits.tokens[row, :count], expected.tokens[row, :count])
        close = {"rtol": 1e-3, "atol": 1e-3}
        torch.testing.assert_close(recalled.logits.log_probs[row, :count], expected.log_probs[row, :count], **close)
        torch.testing.assert_close(recalled.hidden[row, :count], target.hidden[row, :count], **close)
        for kept in (*recalled.logits[:2], recalled.hidden):
            assert not kept[row, count:].any()
    assert fill(made(tmp_path)).recall(["a"]).hidden is None
    with pytest.raises(KeyError):
        cache.recall(["f"])


@pytest.mark.parametrize(("vocabulary", "size"), [(256, 26), (257, 34), (65536, 34), (65537, 50)])
def test_tokens_take_as_many_bytes_as_the_vocabulary_needs(vocabulary, size):
    assert replace(CONTENTS, vocab_size=vocabulary, top_k=8).record.itemsize == size


def test_posteriors_beyond_half_precision_stay_finite(tmp_path):
    cache = made(tmp_path)
    for number, shard in enumerate(cache.shards):
        cache.write(number, [output([u.id], scale=1e5) for u in shard])
    cache.finish()
    cache.open()
    ids, _, frames = output(["a"])
    assert torch.isfinite(MaskedKL()(torch.zeros(1, 9, VOCABULARY), cache.recall(ids).logits, frames))


def test_output_that_is_not_finite_is_refused_and_nothing_is_left(tmp_path):
    cache = made(tmp_path)
    ids, target, frames = output(["a"])
    target.logits[0, 3, 2] = float("nan")
    with pytest.raises(DldError, match="the teacher's output for utterance a is not finite"):
        cache.write(0, [(ids, target, frames)])
    assert list(cache.folder.iterdir()) == []


# ---------------------------------------------------------------- what is noticed


def test_a_finished_cache_is_found_again(tmp_path):
    fill(made(tmp_path))
    found = made(tmp_path)
    assert found.missing() is None
    found.open()
    assert found.recall(["b"]).logits.tokens.shape == (1, 7, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "4" * 64},
        {"network": "4" * 64},
        {"data": "4" * 64},
        {"speed": 1.1},
        {"precision": "bf16"},
        {"top_k": 3},
        {"temperature": 2.0},
        {"width": 2},
        {"format": 2},
    ],
)
def test_other_contents_are_computed_again(tmp_path, change):
    first = fill(made(tmp_path))
    before = files(first)
    other = made(tmp_path, replace(CONTENTS, **change))
    assert other.missing() == list(range(len(other.shards)))
    fill(other)
    assert files(first) == before and first.missing() is None


def test_a_fill_that_was_killed_resumes_with_whole_shards_and_the_same_bytes(tmp_path):
    whole = fill(made(tmp_path / "whole"))
    fill(made(tmp_path / "parts"), [1])
    parts = made(tmp_path / "parts")
    # Killed between the records of a shard and their index.
    parts._path(0).write_bytes(b"half")
    assert parts.missing() == [number for number in range(len(parts.shards)) if number != 1]
    assert files(fill(parts)) == files(whole)


def test_a_fill_that_was_killed_at_its_very_end_has_nothing_to_compute(tmp_path):
    cache = made(tmp_path)
    fill(cache, range(len(cache.shards)))
    assert cache.missing() == []


def spoil(cache, what):
    record, index = cache._path(1), cache._path(1, ".json")
    raw, about = record.read_bytes(), json.loads(index.read_text())
    if what == "byte":
        record.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif what == "short":
        record.write_bytes(raw[:-1])
    elif what == "gone":
        record.unlink()
    elif what == "index":
        index.write_text("{")
    elif what == "ids":
        index.write_text(json.dumps({**about, "ids": [*about["ids"][:-1], "f"]}))
    elif what == "frames":
        index.write_text(json.dumps({**about, "frames": [*about["frames"][:-1], -1]}))
    elif what == "pickle":
        with open(record, "wb") as out:
            np.save(out, np.array([{"code": 1}], dtype=object), allow_pickle=True)
    elif what == "stamp":
        (cache.folder / STAMP).write_text("{}")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("byte", "it has changed since it was written; it is made again"),
        ("short", "it has another size than when it was written"),
        ("gone", "it is missing"),
        ("index", "00001.json:1: not JSON"),
        ("ids", "its index is of other utterances"),
        ("frames", "it has another size"),
        ("pickle", "it has another size"),
        ("stamp", "cache.json: lacks teacher"),
    ],
)
def test_what_is_damaged_is_told_and_made_again(tmp_path, caplog, what, told):
    cache = fill(made(tmp_path))
    before = files(cache)
    spoil(cache, what)
    found = made(tmp_path)
    assert found.missing() == ([] if what == "stamp" else [1])
    assert told in caplog.text
    assert files(fill(found)) == before


def test_tokens_outside_of_the_vocabulary_are_never_read(tmp_path):
    cache = made(tmp_path)
    real = cache.records

    def hostile(target):
        records = real(target)
        records["tokens"] = 200
        return records

    cache.records = hostile
    fill(cache, [0])
    assert 0 in made(tmp_path).missing()
