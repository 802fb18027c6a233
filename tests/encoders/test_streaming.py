"""A Conformer with chunks encodes what arrives in parts as it does the whole."""

import pytest
import torch

from dld.encoders import GatedConformer, GatedWhisper
from dld.encoders.streaming import EncoderStream
from dld.errors import DldError

N = 3


def make(**settings):
    torch.manual_seed(0)
    small = {"input_size": 20, "num_blocks": N, "d_model": 16, "d_ffn": 32, "num_heads": 2, "kernel_size": 5}
    return GatedConformer(**{**small, "attention": "rotary", "chunk": 4, **settings}).eval()


def streamed(encoder, features, gates, sizes):
    stream = EncoderStream(encoder, gates)
    parts = [stream.accept(part) for part in features.split(sizes, dim=1)]
    return torch.cat([*parts, stream.end()], 1), parts


@pytest.mark.parametrize("settings", [{}, {"left_chunks": 0}, {"left_chunks": 2, "kernel_size": 9}, {"chunk": 1}])
@pytest.mark.parametrize("gates", [(True, True, True), (True, False, True), (False, True, False)])
def test_parts_give_what_the_whole_gives(settings, gates):
    encoder = make(closed_norm=True, **settings)
    for frames, size in ((1, 1), (3, 2), (16, 16), (17, 5), (61, 1), (163, 30), (163, 163)):
        features = torch.randn(1, frames, 20)
        whole, _ = encoder(features, torch.tensor([frames]), gates)
        found, _ = streamed(encoder, features, gates, size)
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


def test_a_frame_leaves_as_soon_as_its_chunk_is_complete():
    features = torch.randn(1, 40, 20)
    _, parts = streamed(make(), features, (True,) * N, [15, 1, 15, 9])
    assert [part.shape[1] for part in parts] == [0, 4, 0, 4]


def test_what_comes_later_changes_nothing():
    encoder, features = make(), torch.randn(2, 160, 20)
    features[1, :64] = features[0, :64]
    (first, second), _ = encoder(features, torch.tensor([160, 160]), (True,) * N)
    torch.testing.assert_close(first[:15], second[:15])
    assert not torch.allclose(first[16:], second[16:])


def test_the_past_that_is_kept_does_not_grow():
    encoder = make(left_chunks=2)
    stream = EncoderStream(encoder, (True,) * N)
    for _ in range(20):
        stream.accept(torch.randn(1, 16, 20))
    assert {past.attended.shape[1] for past in stream._pasts} == {8}
    assert stream._features.shape[1] == encoder.subsampling


def test_encoders_without_chunks_are_refused():
    whisper = GatedWhisper(num_blocks=2, d_model=16, num_heads=2, d_ffn=32)
    for encoder in (make(chunk=None), whisper):
        with pytest.raises(DldError, match=r"has no chunks.*encoder\.chunk"):
            EncoderStream(encoder, (True,) * encoder.num_blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": "relative"}, "chunks need rotary attention"),
        ({"chunk": None, "left_chunks": 1}, "left_chunks is 1, and chunk is null"),
        ({"chunk": 0}, "chunk is 0"),
        ({"left_chunks": -1}, "left_chunks is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(DldError, match=message):
        make(**settings)
