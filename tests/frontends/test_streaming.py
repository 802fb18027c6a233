"""Features of a waveform that arrives in parts are those of the whole."""

import pytest
import torch

from dld.errors import DldError
from dld.frontends import GlobalCMVN, KaldiFbank, LogMel, UtteranceCMVN, WhisperLogMel
from dld.frontends.streaming import FeatureStream


def globally(size):
    normalisation = GlobalCMVN(size)
    normalisation.estimate([(torch.randn(1, 50, size), torch.tensor([50]))])
    return normalisation


FRONT_ENDS = {
    "kaldi": KaldiFbank,
    "cut": lambda: KaldiFbank(snip_edges=True),
    "8 kHz": lambda: KaldiFbank(sample_rate=8000, n_mels=40),
    "normalised": lambda: KaldiFbank(normalisation=globally(80)),
    "torchaudio": LogMel,
    "wide hop": lambda: LogMel(hop_ms=25),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_parts_give_what_the_whole_gives(name):
    torch.manual_seed(0)
    frontend = FRONT_ENDS[name]()
    for samples, size in ((1, 1), (5, 3), (399, 100), (401, 1), (800, 160), (4000, 333), (16001, 5000)):
        waveform = torch.randn(samples)
        expected, _ = frontend(waveform[None], torch.tensor([samples]))
        stream = FeatureStream(frontend)
        found = [*(stream.accept(part) for part in waveform.split(size)), stream.end()]
        torch.testing.assert_close(torch.cat(found, 1), expected, atol=2e-3, rtol=1e-3)


def test_the_samples_that_are_kept_do_not_grow():
    stream = FeatureStream(KaldiFbank())
    kept = [len(stream._samples) for _ in range(30) if stream.accept(torch.randn(1600)) is not None]
    assert max(kept) < 4000


def test_an_utterance_without_samples_has_no_features():
    assert FeatureStream(KaldiFbank()).end().shape == (1, 0, 80)


@pytest.mark.parametrize(
    ("frontend", "message"),
    [
        (WhisperLogMel(), "WhisperLogMel needs whole utterances"),
        (KaldiFbank(normalisation=UtteranceCMVN()), "UtteranceCMVN needs whole utterances; train with GlobalCMVN"),
        (LogMel(zero_mean=True), "zero_mean needs whole utterances"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_front_ends_that_need_the_whole_are_refused(frontend, message):
    with pytest.raises(DldError, match=message):
        FeatureStream(frontend)
