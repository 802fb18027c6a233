"""From a directory to batches: the right samples and tokens, limits kept, the same order again."""

import logging
import pickle

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.utils.checkpoints import Checkpointer

from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.batching import sorted_batches
from dld.data.dataset import (
    make_batch_sampler,
    make_dataset,
    make_loader,
    select_for_training,
)
from dld.data.kaldi import Utterance
from dld.data.tokenizer import train
from dld.errors import DldError


@pytest.fixture
def tokenizer(folder, tmp_path):
    return train(kaldi.read_text(folder / "text").values(), tmp_path / "lang", model_type="char")


class Lengths:
    """Stands for a dataset where only durations matter."""

    def __init__(self, durations):
        self.data = {str(i): {"duration": value} for i, value in enumerate(durations)}
        self.data_ids = list(self.data)

    def __len__(self):
        return len(self.data)


@pytest.fixture
def lengths():
    durations = np.random.default_rng(0).lognormal(1.5, 0.7, size=500).round(3)
    durations[[100, 300]] = 45, 50
    return Lengths(durations)


def test_items_are_what_the_directory_says(folder, tokenizer):
    dataset = make_dataset(folder, tokenizer)
    item = dataset[2]
    assert item["id"] == "bert-1" and item["words"] == "five five six" and item["duration"] == 1.2
    assert item["tokens"].dtype == torch.long and tokenizer.decode(item["tokens"]) == "five five six"
    assert item["signal"].dtype == torch.float32 and item["signal"].shape == (19200,)
    assert len(dataset) == 6


def test_segments_are_read_from_their_recordings(talks, tmp_path):
    dataset = make_dataset(talks)
    whole = read_audio(tmp_path / "talk1.flac")
    assert np.array_equal(dataset[1]["signal"].numpy(), whole[24000:44000])
    assert "tokens" not in dataset[1]


def test_without_text_there_are_no_words(folder, tokenizer):
    (folder / "text").unlink()
    assert make_dataset(folder)[0]["words"] == ""
    with pytest.raises(DldError, match="text: no such file"):
        make_dataset(folder, tokenizer)


def test_foreign_characters_stop_the_building(folder, tokenizer):
    text = folder / "text"
    text.write_text(text.read_text().replace("carl-1 two", "carl-1 two Kč"))
    with pytest.raises(DldError, match=r"utterance carl-1: .*'K' .*'c' .*|utterance carl-1: .*'K' .*'č'"):
        make_dataset(folder, tokenizer)


def test_bad_audio_names_file_and_utterance(folder):
    dataset = make_dataset(folder)
    (folder.parent / "wav/carl-2.wav").unlink()
    with pytest.raises(DldError, match=r"carl-2\.wav \(utterance carl-2\)"):
        dataset[5]


def test_nothing_is_left_out_unasked_and_all_is_counted(folder, caplog):
    with caplog.at_level(logging.INFO):
        assert len(make_dataset(folder)) == 6
        assert caplog.text == ""
        dataset = make_dataset(folder, min_duration=1.05, max_duration=1.45)
    assert dataset.data_ids == ["anna-2", "bert-1", "bert-2", "carl-1"]
    assert "4 of 6 utterances kept" in caplog.text
    assert "1 shorter than 1.05 s (first: anna-1)" in caplog.text
    assert "1 longer than 1.45 s (first: carl-2)" in caplog.text
    assert make_dataset(folder, max_utterances=3).data_ids == ["anna-1", "bert-1", "carl-1"]
    assert len(make_dataset(folder, max_utterances=99)) == 6
    with pytest.raises(DldError, match="no utterances left"):
        make_dataset(folder, min_duration=9)


def test_selection_for_training_finds_what_ctc_cannot_align(tokenizer, caplog):
    # "nine nine nine" is 15 tokens without equal neighbours; "three" has one pair among its 6 tokens.
    def make(key, text, frames):
        return Utterance(key, "s", text, "a.wav", duration=frames / 25)

    utterances = [make("a", "nine nine nine", 14.5), make("b", "nine nine nine", 15.5), make("c", "three", 6.5)]
    utterances += [make("d", "three", 7.5), make("e", "three", 2), make("f", "three", 900)]
    with caplog.at_level(logging.INFO):
        kept, dropped = select_for_training(utterances, tokenizer, min_duration=0.1, max_duration=30, max_speed=1.0)
    assert [u.id for u in kept] == ["b", "d"]
    assert dropped == {
        "shorter than 0.1 s": ["e"],
        "longer than 30 s": ["f"],
        "too short for its text (CTC)": ["a", "c"],
    }
    assert "2 of 6 utterances kept" in caplog.text and "2 too short for its text (CTC) (first: a)" in caplog.text
    limits = {"max_duration": 30, "max_speed": 1.0}
    assert select_for_training(utterances, tokenizer, **limits, overlap=0.5)[0] == kept
    with pytest.raises(DldError, match="no training utterances left of 6"):
        select_for_training(utterances, tokenizer, **limits, overlap=0.6)
    with pytest.raises(DldError, match="no training utterances left of 6"):
        select_for_training(utterances, tokenizer, max_duration=30, max_speed=1.2)


def test_selected_utterances_make_a_dataset(folder, tokenizer):
    kept, dropped = select_for_training(kaldi.load(folder), tokenizer, max_duration=1.45)
    assert dropped == {"longer than 1.45 s": ["carl-2"]}
    assert make_dataset(kept, tokenizer).data_ids == [u.id for u in kept]


@pytest.mark.parametrize("num_buckets", [None, 1, 10, 400])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_hold_everything_once_within_the_limit(lengths, num_buckets, shuffle):
    sampler = make_batch_sampler(lengths, 40, seed=3, num_buckets=num_buckets, shuffle=shuffle)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    durations = [lengths.data[key]["duration"] for key in lengths.data_ids]
    padded = [len(batch) * max(durations[i] for i in batch) for batch in batches]
    assert all(length <= 40 or len(batch) == 1 for length, batch in zip(padded, batches, strict=True))
    # Some utterances are longer than the limit: they come alone.
    assert sum(length > 40 for length in padded) == sum(value > 40 for value in durations) > 0
    assert len(sampler) == len(batches)


def test_batches_are_well_filled(lengths):
    sampler = make_batch_sampler(lengths, 40, seed=3)
    durations = np.array([lengths.data[key]["duration"] for key in lengths.data_ids])
    padded = sum(len(batch) * durations[batch].max() for batch in sampler)
    assert durations.sum() / padded > 0.75
    assert len(sampler) < 1.6 * durations.sum() / 40


def padding(durations, seconds):
    """The share of a batch's frames that are padding, over all batches of an epoch."""
    padded = sum(len(batch) * durations[batch].max() for batch in make_batch_sampler(Lengths(durations), seconds, 3))
    return 1 - durations.sum() / padded


@pytest.mark.parametrize("seconds", [40, 120, 300])
def test_little_of_a_batch_is_padding_at_lengths_like_those_of_librispeech(seconds):
    # 960 h have a mean of 12.3 s and hardly anything above 17 s; a log-normal distribution spreads more.
    durations = np.random.default_rng(0).lognormal(np.log(12), 0.45, size=10_000).clip(1.2, 25)
    assert padding(durations, seconds) < 0.05


def test_little_of_a_batch_is_padding_on_librispeech(shared):
    files = sorted((shared / "corpora/LibriSpeech/train-clean-100").rglob("*.flac"))
    durations = np.array([soundfile.info(file).duration for file in files])
    assert len(durations) == 244
    assert padding(durations, 40) < 0.05


def test_batch_size_can_be_limited(lengths):
    assert max(map(len, make_batch_sampler(lengths, 40, seed=3, max_batch_utterances=4))) == 4


def test_order_depends_on_seed_and_epoch_alone(lengths):
    sampler = make_batch_sampler(lengths, 40, seed=3)
    sampler.set_epoch(1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(2)
    second = list(sampler)
    resumed = make_batch_sampler(lengths, 40, seed=3)
    resumed.set_epoch(2)
    assert list(resumed) == second != first
    other = make_batch_sampler(lengths, 40, seed=4)
    other.set_epoch(2)
    assert list(other) != second


@pytest.mark.parametrize(
    "limits", [{"batch_size": 7}, {"max_batch_seconds": 30}, {"batch_size": 3, "max_batch_seconds": 30}]
)
def test_sorted_batches_keep_their_limits(lengths, limits):
    durations = [lengths.data[key]["duration"] for key in lengths.data_ids]
    batches = sorted_batches(durations, **limits)
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(500))
    assert [durations[i] for i in order] == sorted(durations, reverse=True)
    for batch in batches:
        assert len(batch) <= limits.get("batch_size", 500)
        assert len(batch) == 1 or len(batch) * durations[batch[0]] <= limits.get("max_batch_seconds", 1e9)


def test_limits_that_make_no_batches(lengths):
    with pytest.raises(DldError, match="need a limit"):
        sorted_batches([1.0])
    with pytest.raises(DldError, match="must be positive"):
        sorted_batches([1.0], batch_size=0)
    with pytest.raises(DldError, match="must be positive"):
        make_batch_sampler(lengths, 0, seed=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_pads_and_keeps_ids_and_words(folder, tokenizer, num_workers):
    dataset = make_dataset(folder, tokenizer)
    durations = [dataset.data[key]["duration"] for key in dataset.data_ids]
    batches = list(make_loader(dataset, sorted_batches(durations, batch_size=4), num_workers))
    assert [batch.id for batch in batches] == [["carl-2", "carl-1", "bert-2", "bert-1"], ["anna-2", "anna-1"]]
    signal, relative = batches[0].signal
    assert signal.shape == (4, 24000) and (relative * 24000).round().tolist() == [24000, 22400, 20800, 19200]
    assert not signal[3, 19200:].any() and signal[3, :19200].any()
    assert batches[0].words == ["nine nine nine", "two", "seven eight nine oh", "five five six"]
    tokens, relative = batches[1].tokens
    assert [tokenizer.decode(row[: round(float(n) * len(row))]) for row, n in zip(tokens, relative, strict=True)] == [
        "four",
        "one two three",
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupted_epoch_goes_on_with_its_next_batch(folder, tmp_path, num_workers):
    def make():
        dataset = make_dataset(folder)
        sampler = make_batch_sampler(dataset, 2.5, seed=1)
        sampler.set_epoch(3)
        return make_loader(dataset, sampler, num_workers)

    loader = make()
    checkpointer = Checkpointer(tmp_path / "save", {"loader": loader})
    expected = []
    for number, batch in enumerate(loader):
        if number == 1:
            checkpointer.save_checkpoint(end_of_epoch=False)
        elif number > 1:
            expected.append(batch.id)
    resumed = make()
    Checkpointer(tmp_path / "save", {"loader": resumed}).recover_if_possible()
    assert [batch.id for batch in resumed] == expected != []


def test_audio_that_is_kept_is_read_once(folder, tmp_path, monkeypatch):
    first = make_dataset(folder, keep=True)
    whole = [item["signal"].clone() for item in first]
    first[0]["signal"].zero_()
    monkeypatch.setattr("dld.data.dataset.KEPT_BYTES", 100_000)
    too_large = make_dataset(folder, keep=True)
    assert torch.equal(too_large[0]["signal"], whole[0])
    (tmp_path / "wav").rename(tmp_path / "elsewhere")
    assert all(torch.equal(item["signal"], signal) for item, signal in zip(first, whole, strict=True))
    with pytest.raises(DldError, match="anna-1"):
        too_large[0]


def test_dataset_can_be_pickled_for_spawned_workers(folder, tokenizer):
    again = pickle.loads(pickle.dumps(make_dataset(folder, tokenizer)))
    assert torch.equal(again[0]["signal"], make_dataset(folder, tokenizer)[0]["signal"])


def test_librispeech_end_to_end(shared, tmp_path):
    utterances = []
    for path in sorted((shared / "corpora/LibriSpeech/test-clean").rglob("*.trans.txt")):
        for key, text in kaldi.read_text(path).items():
            utterances.append(Utterance(key, key.split("-")[0], text, str(path.parent / f"{key}.flac")))
    kaldi.write(tmp_path / "d", utterances)
    tokenizer = train([u.text for u in utterances], tmp_path / "lang", vocab_size=64)
    kept, dropped = select_for_training(kaldi.load(tmp_path / "d"), tokenizer)
    assert len(kept) == 4 and dropped == {}
    dataset = make_dataset(kept, tokenizer)
    seen = {}
    for batch in make_loader(dataset, make_batch_sampler(dataset, 30, seed=0)):
        seen.update(zip(batch.id, batch.words, strict=True))
    assert seen == {u.id: u.text for u in utterances}
