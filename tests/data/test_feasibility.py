"""Dev and test sets that cannot be measured whole, reported before the work."""

import math

import pytest
import torch

from dld.ctc import ctc_loss, feasible_ctc_loss
from dld.data import kaldi
from dld.data.feasibility import check_evaluation
from dld.errors import DldError
from dld.files import read_json


def test_the_loss_is_that_of_the_utterances_that_have_one():
    logits = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    tokens, token_lengths = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 1], [3, 0, 0, 0]]), torch.tensor([2, 4, 1])
    lengths = torch.tensor([6, 6, 4])  # the second needs seven frames
    assert math.isinf(ctc_loss(logits, lengths, tokens, token_lengths))
    loss, count = feasible_ctc_loss(logits, lengths, tokens, token_lengths)
    rows = [0, 2]
    torch.testing.assert_close(loss, ctc_loss(logits[rows], lengths[rows], tokens[rows], token_lengths[rows]))
    assert count == 2


def test_dev_utterances_without_a_loss_are_named_and_the_dev_loss_is_of_the_others(
    experiment, tiny_corpus, tmp_path, caplog
):
    data = tmp_path / "data"
    for name in ("train", "dev", "lang"):
        (data / name).mkdir(parents=True)
        for path in (tiny_corpus / name).iterdir():
            if path.is_file():
                (data / name / path.name).write_bytes(path.read_bytes())
    lines = (data / "dev/text").read_text().splitlines()
    odd = lines[0].split()[0]
    (data / "dev/text").write_text("\n".join([f"{odd} {'nine nine ' * 80}".strip(), *lines[1:]]) + "\n")
    folder = experiment("static", tmp_path / "exp", data=str(data), num_epochs=1)
    [warning] = [record.getMessage() for record in caplog.records if "too short for their text" in record.getMessage()]
    assert odd in warning and f"1 of {len(lines)}" in warning
    [line] = (folder / "train_log.txt").read_text().splitlines()
    assert "(without 1 utterances that are too short for their text)" in line
    loss = float(line.partition("dev loss ")[2].split()[0])
    usual = experiment("static", tmp_path / "usual", num_epochs=1)
    # The same network, and all but one of the same utterances.
    assert loss == pytest.approx(
        float((usual / "train_log.txt").read_text().partition("dev loss ")[2].split()[0]), rel=0.1
    )
    assert read_json(folder / "model.json")["state_sha256"] == read_json(usual / "model.json")["state_sha256"]


def test_utterances_that_are_too_long_for_the_encoder_are_named_before_the_work(tiny_corpus):
    utterances = kaldi.load(tiny_corpus / "dev")
    longest = max(utterances, key=lambda u: u.duration)
    with pytest.raises(
        DldError, match=f"dev: 1 of .* longer than the .* that the encoder takes: {longest.id} .*cut them"
    ):
        check_evaluation(utterances, max_seconds=longest.duration - 0.001)
