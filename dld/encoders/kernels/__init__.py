"""Arithmetic that PyTorch computes slowly on a CPU: faster kernels with the same results, and one switch for all.

Each module holds one kernel. Encoders ask `applicable` before they take one, and compute the same with PyTorch's own
operators otherwise. `kernels.use(False)`, or the environment variable `DLD_KERNELS=0`, turns all of them off.
"""

from dld.encoders.kernels.attention import attend, attention
from dld.encoders.kernels.convolution import convolve_utterance
from dld.encoders.kernels.depthwise import depthwise
from dld.encoders.kernels.dropout import add_dropped
from dld.encoders.kernels.feedforward import FeedForward, feed_forward
from dld.encoders.kernels.linear import linear
from dld.encoders.kernels.spectral import grouped_convolution
from dld.encoders.kernels.switch import applicable, applicable_in_inference, use

__all__ = [
    "FeedForward",
    "add_dropped",
    "applicable",
    "applicable_in_inference",
    "attend",
    "attention",
    "convolve_utterance",
    "depthwise",
    "feed_forward",
    "grouped_convolution",
    "linear",
    "use",
]
