"""Convolutional subsampling by 4 that padding cannot reach."""

from torch import Tensor, nn

from dld.checks import COUNT, RATE, Choice, Nullable, require
from dld.padding import padding_mask


class ConvSubsampling(nn.Module):
    """Two convolutions of kernel 3 and stride 2 over time, then a projection to the model's width.

    Frames beyond an utterance's length are zeroed before each convolution, so that the output of an utterance does not
    depend on what it is batched with.

    Parameters
    ----------
    input_size : int
        Feature bins.
    output_size : int
    kind : {"conv1d", "conv2d"}
        "conv1d" convolves over time only, all bins as channels (as the DLD authors' group does); "conv2d" over time and
        frequency (as WeNet, ESPnet and icefall do), slower and usually a little more accurate.
    channels : int, optional
        Channels of the convolutions (default: `output_size`).
    dropout : float

    Examples
    --------
    >>> import torch
    >>> subsampling = ConvSubsampling(80, 16)
    >>> out, lengths = subsampling(torch.zeros(2, 9, 80), torch.tensor([9, 4]))
    >>> out.shape, lengths.tolist()
    (torch.Size([2, 3, 16]), [3, 1])
    """

    factor = 4

    def __init__(
        self,
        input_size: int,
        output_size: int,
        kind: str = "conv1d",
        channels: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        require(self, COUNT, input_size=input_size, output_size=output_size)
        require(self, Choice("conv1d", "conv2d"), subsampling=kind)
        require(self, Nullable(COUNT), channels=channels)
        require(self, RATE, dropout=dropout)
        channels = channels or output_size
        self.kind = kind
        convolution: type[nn.Conv1d] | type[nn.Conv2d]
        if kind == "conv1d":
            convolution, sizes, flat = nn.Conv1d, (input_size, channels), channels
        else:
            convolution, sizes, flat = nn.Conv2d, (1, channels), channels * self.output_frames(input_size)
        self.convolutions = nn.ModuleList(
            [convolution(sizes[0], channels, 3, 2, padding=1), convolution(sizes[1], channels, 3, 2, padding=1)]
        )
        self.activation = nn.SiLU()
        self.project = nn.Linear(flat, output_size)
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def output_frames(frames):
        """Return the frames after both convolutions: a quarter, rounded up. Takes integers and integer tensors."""
        return (frames + 3) // 4

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute (batch, time, input_size), (batch,) → (batch, ⌈time/4⌉, output_size), (batch,)."""
        return self.convolved(features, lengths), self.output_frames(lengths)

    def convolved(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Compute (batch, time, input_size) → (batch, ⌈time/4⌉, output_size); without lengths, all frames are valid."""
        hidden = features.transpose(1, 2) if self.kind == "conv1d" else features.unsqueeze(1)
        time_axis = 2
        for convolution in self.convolutions:
            if lengths is not None:
                mask = padding_mask(lengths, hidden.shape[time_axis])
                hidden = hidden.masked_fill(mask[:, None] if self.kind == "conv1d" else mask[:, None, :, None], 0.0)
                lengths = (lengths + 1) // 2
            hidden = self.activation(convolution(hidden))
        return self.dropout(self.project(hidden.transpose(1, 2).flatten(2)))
