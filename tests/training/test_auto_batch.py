"""Batch sizes by memory: the search, with a function in place of a GPU's memory, and what a run makes of it."""

import math

import pytest
import torch

from dld.data.dataset import make_batch_sampler, make_dataset
from dld.errors import DldError
from dld.files import write_json
from dld.gates import AllOpen, Bernoulli, Sandwich
from dld.training import auto_batch
from dld.training.auto_batch import BATCH_SIZES, BatchSizes, find_sizes, worst_draw
from dld.training.folder import remove_run

SECONDS = [2.0, 3.5, 8.0, 16.0, 25.0]


def memory(seconds):
    """A step's memory in MB: some for the weights, some for each second, attention by the square of an utterance."""

    def measure(utterances, bucket):
        calls.append((utterances, bucket))
        length = seconds[bucket]
        needed = 500 + utterances * (20 * length + 0.8 * length**2)
        # Beyond the whole memory nothing is measured.
        return needed if needed < 40000 else math.inf

    calls = []
    measure.calls = calls
    return measure


def test_the_search_finds_the_largest_batches_to_three_percent_in_few_steps():
    measure = memory(SECONDS)
    sizes = find_sizes(SECONDS, measure, limit=32000)
    for bucket, size in enumerate(sizes):
        exact = int((32000 - 500) / (20 * SECONDS[bucket] + 0.8 * SECONDS[bucket] ** 2))
        assert measure(size, bucket) <= 32000
        assert exact * 0.96 - 1 <= size <= exact, bucket
    assert len(measure.calls) < 12 * len(SECONDS)
    assert sizes == sorted(sizes, reverse=True)


def test_a_batch_has_a_largest_size_and_an_utterance_that_does_not_fit_is_an_error():
    assert find_sizes([1.0], lambda utterances, bucket: 0.0, limit=1.0) == [auto_batch.MOST]
    assert find_sizes([1.0], lambda utterances, bucket: float(utterances), limit=1.0) == [1]
    with pytest.raises(DldError, match="one utterance of 25.0 s does not fit in the memory of the GPU"):
        find_sizes([1.0, 25.0], lambda utterances, bucket: math.inf, limit=1.0)


@pytest.fixture
def sampler(tiny_corpus):
    return make_batch_sampler(make_dataset(tiny_corpus / "train"), 10, seed=1, num_buckets=3)


def test_batches_have_the_sizes_that_were_found(sampler):
    before = list(sampler)
    longest = [sampler._ex_lengths[str(index)] for index in sampler.longest()]
    assert longest == sampler.boundaries
    BatchSizes("GPU", sampler.boundaries, [7, 5, 3]).apply(sampler)
    batches = list(sampler)
    assert sorted(sum(batches, [])) == sorted(sum(before, []))
    for batch in batches:
        seconds = max(sampler._ex_lengths[str(index)] for index in batch)
        bucket = next(b for b, boundary in enumerate(sampler.boundaries) if seconds <= boundary)
        assert len(batch) <= [7, 5, 3][bucket]
    assert max(map(len, batches)) == 7
    with pytest.raises(DldError, match="is of other lengths than the training data"):
        BatchSizes("GPU", [1.0], [7]).apply(sampler)


def test_the_draw_that_needs_most_memory_is_that_of_the_search():
    state = (schedule := Bernoulli(num_blocks=6, p=0.5, seed=1)).state_dict()
    assert worst_draw(schedule).vectors == [(True,) * 6]
    assert schedule.state_dict() == state
    assert worst_draw(AllOpen(num_blocks=4)).vectors == [(True,) * 4]
    worst = worst_draw(Sandwich(num_blocks=6, seed=1))
    assert len(worst.vectors) > 1 and (True,) * 6 in worst.vectors


def test_a_run_that_resumes_takes_the_sizes_that_it_began_with(tmp_path):
    with pytest.raises(DldError, match=f"{BATCH_SIZES} is missing"):
        auto_batch.recorded(tmp_path)
    sizes = BatchSizes("GPU", [1.0, 2.0], [8, 4])
    write_json(tmp_path / BATCH_SIZES, sizes.to_json())
    assert auto_batch.recorded(tmp_path) == sizes
    remove_run(tmp_path)
    assert not (tmp_path / BATCH_SIZES).exists()


def test_a_run_on_a_cpu_refuses_it(experiment, tmp_path):
    with pytest.raises(DldError, match="auto_batch: true measures the memory of a GPU, and this run is on cpu"):
        experiment("ld", tmp_path, auto_batch=True)


@pytest.fixture
def pretended_gpu(monkeypatch):
    """Lets the search run on a CPU: the memory of a step is the number of its frames."""

    def on_gpu(brain, longest, dataset):
        examples, draw = [dataset[index] for index in longest], worst_draw(brain.schedule)

        def measure(utterances, bucket):
            with torch.random.fork_rng(devices=[]):
                brain.try_step(auto_batch.PaddedBatch([examples[bucket]] * utterances), draw)
            brain.network.zero_grad(set_to_none=True)
            brain.progress.means.reset()
            return utterances * len(examples[bucket]["signal"]) / 16000

        return measure

    monkeypatch.setattr("dld.training.run.refuse_cpu", lambda device: None)
    monkeypatch.setattr(auto_batch, "_on_gpu", on_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a CPU")
    properties = type("Properties", (), {"total_memory": 12 / auto_batch.SHARE})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)


def test_a_run_searches_once_and_trains_with_what_it_found(experiment, tmp_path, pretended_gpu, caplog):
    caplog.set_level("INFO", "dld")
    folder = experiment("ld", tmp_path, auto_batch=True, num_epochs=1)
    sizes = BatchSizes.load(folder)
    assert all(n * s <= 12 for n, s in zip(sizes.utterances, sizes.seconds, strict=True))
    assert caplog.text.count("auto_batch: trying") == 1
    again = experiment("ld", tmp_path, auto_batch=True, num_epochs=2)
    assert caplog.text.count("auto_batch: trying") == 1
    assert BatchSizes.load(again) == sizes
