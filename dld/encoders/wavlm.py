"""WavLM (arXiv 2110.13900) whose blocks can be skipped."""

import contextlib
import math

import torch
import torchaudio
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchaudio.models.wav2vec2.components import ConvolutionalPositionalEmbedding, FeedForward
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from dld.checks import (
    AT_LEAST_0,
    COUNT,
    FLAG,
    NOT_NEGATIVE,
    RATE,
    SHARE,
    Choice,
    ListOf,
    Nullable,
    Number,
    Whole,
    require,
)
from dld.encoders.base import Embedded, GatedEncoder
from dld.encoders.kernels import attention, linear, plain_cpu, plain_inference
from dld.encoders.pretrained import load_exactly
from dld.encoders.wavlm_weights import read_pretrained
from dld.errors import DldError
from dld.padding import padding_mask

# Channels, kernel and stride of each convolution over the waveform; the same in Base and Large.
CONV_LAYERS = ((512, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2))
# Weights that no published checkpoint need have; they start at random, or equal.
OPTIONAL_WEIGHTS = frozenset(("mask_embedding", "layer_weights"))
LOW_PRECISION = Nullable(Choice("extractor", "all"))


class ConvExtractor(nn.Module):
    """The convolutions that turn a waveform into frames, whatever else is in the batch.

    Base normalises each channel of the first convolution over time. Other implementations let padding into those
    statistics; here they are taken over an utterance's own frames. As the first convolution is linear, they follow from
    mean and covariance of the few samples under its kernel, and its output need not be read twice for them.

    On a CPU without gradients each utterance goes through by itself, without its padding, in pieces that stay in the
    processor's cache, every convolution as a product of matrices.

    Parameters
    ----------
    layers : ModuleList of torchaudio's ConvLayerBlock
    low_precision : bool
        bfloat16 after the first convolution.
    """

    # Convolutions that run piece by piece, and output frames to a piece: a few megabytes between them.
    PIECEWISE = 3
    PIECE = 256

    def __init__(self, layers, low_precision=False):
        super().__init__()
        self.layers = layers
        self.low_precision = low_precision
        self.output_size = layers[-1].conv.out_channels
        self.hop, self.window = self._geometry(len(layers))

    def _geometry(self, count):
        """Samples between frames, and samples that one frame sees, after the first `count` convolutions."""
        hop = window = 1
        for layer in self.layers[:count]:
            window += (layer.kernel_size - 1) * hop
            hop *= layer.stride
        return hop, window

    def output_frames(self, samples):
        """Frames of a number of samples, for integers and integer tensors; 0 where none is whole."""
        frames = (samples - self.window) // self.hop + 1
        return frames.clamp_min(0) if isinstance(frames, torch.Tensor) else max(0, frames)

    def forward(self, waveforms, lengths):
        """(batch, samples), (batch,) → (batch, frames, channels), (batch,); at least one frame, be it padding."""
        waveforms = functional.pad(waveforms, (0, max(0, self.window - waveforms.shape[1])))
        frames = self.output_frames(lengths)
        device = waveforms.device.type
        if not plain_inference(waveforms):
            bfloat16 = torch.autocast(device, torch.bfloat16) if self.low_precision else contextlib.nullcontext()
            with bfloat16:
                return self._whole_batch(waveforms, lengths).transpose(1, 2), frames
        dtype = self.layers[0].conv.weight.dtype
        if self.low_precision:
            dtype = torch.bfloat16
        elif torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            matrices = [_as_matrix(layer.conv, dtype) for layer in self.layers[1:]]
            rows = [
                self._one_utterance(waveform[:length], matrices, dtype)
                for waveform, length in zip(waveforms.float(), lengths.tolist(), strict=True)
            ]
            out = waveforms.new_zeros(len(rows), self.output_frames(waveforms.shape[1]), self.output_size, dtype=dtype)
            for place, row in zip(out, rows, strict=True):
                place[: len(row)] = row
        return out, frames

    def _whole_batch(self, waveforms, lengths):
        """(batch, samples) → (batch, channels, frames), by torch's own convolutions."""
        first, *rest = self.layers
        hidden = first.conv(waveforms[:, None].to(first.conv.weight.dtype))
        if isinstance(first.layer_norm, nn.GroupNorm):
            scale, shift = self._channel_norm(waveforms, lengths)
            hidden = torch.addcmul(shift[..., None].to(hidden.dtype), hidden, scale[..., None].to(hidden.dtype))
            if first.conv.bias is not None:
                hidden = hidden - (scale * first.conv.bias)[..., None].to(hidden.dtype)
        elif first.layer_norm is not None:
            hidden = first.layer_norm(hidden)
        hidden = functional.gelu(hidden)
        for layer in rest:
            hidden, _ = layer(hidden, None)
        return hidden

    def _channel_norm(self, waveforms, lengths):
        """What normalising each channel over an utterance's frames multiplies and adds: each (batch, channels).

        A bias of the convolution is left out, as the normalisation takes it away.
        """
        layer = self.layers[0]
        frames = waveforms.double().unfold(1, layer.kernel_size, layer.stride)
        count = ((lengths - layer.kernel_size) // layer.stride + 1).clamp_min(0)
        padding = padding_mask(count, frames.shape[1])[..., None]
        count = count.clamp_min(1)[:, None]
        mean = frames.masked_fill(padding, 0.0).sum(1) / count
        centred = (frames - mean[:, None]).masked_fill(padding, 0.0)
        covariance = centred.transpose(1, 2) @ centred / count[..., None]
        weight = layer.conv.weight.squeeze(1).double()
        variance = ((weight @ covariance) * weight).sum(-1)
        scale = layer.layer_norm.weight * (variance + layer.layer_norm.eps).rsqrt()
        return scale.float(), (layer.layer_norm.bias - mean @ weight.t() * scale).float()

    def _one_utterance(self, samples, matrices, dtype):
        """(samples,) → (frames, channels), without gradients."""
        count = min(self.PIECEWISE, len(self.layers))
        hop, window = self._geometry(count)
        total = (len(samples) - window) // hop + 1
        if self.output_frames(len(samples)) == 0:
            return samples.new_zeros(0, self.output_size, dtype=dtype)
        first = self.layers[0]
        weight, bias = first.conv.weight.squeeze(1).float(), first.conv.bias
        if isinstance(first.layer_norm, nn.GroupNorm):
            [scale], [bias] = self._channel_norm(samples[None], torch.tensor([len(samples)]))
            weight = weight * scale[:, None]
        bias = None if bias is None else bias.float()
        between = samples.new_empty(total, self.layers[count - 1].conv.out_channels, dtype=dtype)
        for begin in range(0, total, self.PIECE):
            end = min(begin + self.PIECE, total)
            piece = samples[begin * hop : (end - 1) * hop + window]
            hidden = functional.linear(piece.unfold(0, first.kernel_size, first.stride), weight, bias)
            hidden = _normalise_and_activate(first.layer_norm, hidden).to(dtype)
            between[begin:end] = self._run(hidden, matrices, 1, count)
        return self._run(between, matrices, count, len(self.layers))

    def _run(self, hidden, matrices, begin, end):
        for layer, matrix in zip(self.layers[begin:end], matrices[begin - 1 : end - 1], strict=True):
            hidden = _convolve(layer, hidden, matrix)
        return hidden


def _as_matrix(conv, dtype):
    """Weights of a convolution as a matrix (out, kernel · in)."""
    return conv.weight.to(dtype).transpose(1, 2).flatten(1).contiguous()


def _convolve(layer, hidden, matrix):
    """One convolution of the extractor with what follows it: (frames, in) → (fewer frames, out)."""
    conv, width = layer.conv, hidden.shape[1]
    frames = (len(hidden) - layer.kernel_size) // layer.stride + 1
    # Successive frames lie beside one another, so a row of the product is a run of memory.
    rows = hidden.as_strided((frames, layer.kernel_size * width), (layer.stride * width, 1), hidden.storage_offset())
    bias = None if conv.bias is None else conv.bias.to(hidden.dtype)
    if layer.layer_norm is None:
        return linear(rows.contiguous(), matrix, bias, gelu=True)
    return _normalise_and_activate(layer.layer_norm, linear(rows.contiguous(), matrix, bias))


def _normalise_and_activate(norm, hidden):
    # A GroupNorm is worked into the weights already.
    if isinstance(norm, nn.LayerNorm):
        hidden = functional.layer_norm(
            hidden, norm.normalized_shape, norm.weight.to(hidden.dtype), norm.bias.to(hidden.dtype), norm.eps
        )
    return torch.ops.aten.gelu_(hidden)


class RelativePositions(nn.Module):
    """The learned bias of attention by distance (arXiv 2110.13900, eq. 5), one for all blocks.

    Parameters
    ----------
    embedding : Embedding (buckets, heads)
    max_distance : int
        Frames; beyond it all distances share a bucket.
    """

    def __init__(self, embedding, max_distance):
        super().__init__()
        self.embedding = embedding
        self.max_distance = max_distance

    def buckets(self, offsets):
        """Bucket of each offset, key minus query: exact when near, by the logarithm further off."""
        half = self.embedding.num_embeddings // 2
        exact = half // 2
        distance = offsets.abs()
        logarithm = (distance.clamp_min(1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (logarithm * (half - exact)).long()).clamp_max(half - 1)
        return torch.where(distance < exact, distance, far) + (offsets > 0) * half

    def forward(self, frames):
        """Bias of every offset from 1 - frames to frames - 1: (heads, 2 · frames - 1)."""
        return self.embedding(self.buckets(torch.arange(1 - frames, frames, device=self.embedding.weight.device))).t()

    @staticmethod
    def expand(biases):
        """(heads, 2 · frames - 1) → (1, heads, query, key)."""
        frames = (biases.shape[1] + 1) // 2
        return biases.unfold(1, frames, 1).flip(1)[None]


class GatedBiasAttention(WavLMSelfAttention):
    """torchaudio's attention, taking a bias common to the batch, and padding, also of a row that is nothing else."""

    def forward(self, query, key_padding_mask=None, attention_mask=None, position_bias=None):
        """(batch, frames, width), (batch, frames), –, (1, heads, frames, frames) → (batch, frames, width), the bias."""
        batch, frames, _ = query.shape
        heads = query.view(batch, frames, self.num_heads, self.head_dim)
        # Of the layer's eight outputs four and four are only ever summed: sum its weights instead.
        gate = functional.linear(
            heads,
            self.gru_rel_pos_linear.weight.view(2, 4, -1).sum(1),
            self.gru_rel_pos_linear.bias.view(2, 4).sum(1),
        )
        update, reset = gate.transpose(1, 2).sigmoid().split(1, dim=-1)
        gate = update * (reset * self.gru_rel_pos_const - 1.0) + 2.0
        projected = linear(query, self.attention.in_proj_weight, self.attention.in_proj_bias)
        projected = projected.view(batch, frames, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        if torch.is_grad_enabled() and plain_cpu(query):
            out = attention(*projected, key_padding_mask, gate, position_bias, p)
        else:
            bias = gate * position_bias
            if key_padding_mask is not None:
                # Not minus infinity: where all keys are padding that would give NaN.
                bias = bias.masked_fill(key_padding_mask[:, None, None], torch.finfo(bias.dtype).min)
            out = functional.scaled_dot_product_attention(*projected, attn_mask=bias.to(projected.dtype), dropout_p=p)
        project = self.attention.out_proj
        return linear(out.transpose(1, 2).flatten(2), project.weight, project.bias), position_bias


class FusedFeedForward(FeedForward):
    """torchaudio's feed-forward, its products by `linear`."""

    def forward(self, x):
        """(batch, frames, width) → the same."""
        hidden = linear(x, self.intermediate_dense.weight, self.intermediate_dense.bias, gelu=True)
        hidden = self.intermediate_dropout(hidden)
        return self.output_dropout(linear(hidden, self.output_dense.weight, self.output_dense.bias))


class SpectralPositions(ConvolutionalPositionalEmbedding):
    """torchaudio's positional convolution; on a CPU by Fourier transforms where that takes less time.

    With a kernel of 128 the direct way takes a tenth of the time of all blocks together, in training more.
    """

    # Frames of a batch from which on transforming the weights pays.
    WORTHWHILE = 256

    def forward(self, x):
        """(batch, frames, width) → the same."""
        if plain_cpu(x) and x.shape[0] * x.shape[1] >= self.WORTHWHILE:
            return self._by_spectrum(x)
        return super().forward(x)

    def _by_spectrum(self, x):
        batch, frames, width = x.shape
        kernel, groups = self.kernel_size, self.conv.groups
        size = kernel + kernel // 2
        step = size - kernel + 1
        pieces = -(-frames // step)
        before = kernel // 2
        padded = functional.pad(x.float(), (0, 0, before, pieces * step + kernel - 1 - frames - before))
        spectra = torch.fft.rfft(padded.unfold(1, size, step))
        bins = spectra.shape[-1]
        # (batch, pieces, groups, in, bins) by (groups, out, in, bins), one product to each group and bin.
        spectra = spectra.view(batch, pieces, groups, -1, bins).permute(2, 4, 0, 1, 3).flatten(2, 3).flatten(0, 1)
        weight = torch.fft.rfft(self.conv.weight.float(), size).conj()
        weight = weight.view(groups, width // groups, width // groups, bins).permute(0, 3, 2, 1).flatten(0, 1)
        product = torch.bmm(spectra, weight).view(groups, bins, batch, pieces, -1).permute(2, 3, 1, 0, 4)
        # What wraps around lies in the last `kernel - 1` values of each piece.
        out = torch.fft.irfft(product.flatten(3), size, dim=2)[:, :, :step].flatten(1, 2)[:, :frames]
        out = out + self.conv.bias
        return (torch.ops.aten.gelu_(out) if plain_inference(out) else functional.gelu(out)).to(x.dtype)


def span_mask(lengths, size, share, width):
    """Spans of equal width at random places, as wav2vec 2.0 masks its input (arXiv 2006.11477, appendix).

    Parameters
    ----------
    lengths : LongTensor (batch,)
        Spans lie within them.
    size : int
    share : float
        Of each length, were there no overlaps; the number of spans is rounded up or down at random.
    width : int

    Returns
    -------
    BoolTensor (batch, size)

    Examples
    --------
    >>> mask = span_mask(torch.tensor([100, 50]), 100, share=0.5, width=10)
    >>> mask.shape, mask[1, 50:].any().item()
    (torch.Size([2, 100]), False)
    """
    # On the CPU, so that the masks of a seed are the same on every device.
    places = (lengths.cpu() - width + 1).clamp_min(0)
    count = (share * lengths.cpu() / width + torch.rand(len(lengths))).long().minimum(places)
    scores = torch.rand(len(lengths), size).masked_fill(padding_mask(places, size), -1.0)
    starts = scores.argsort(dim=1, descending=True).argsort(dim=1) < count[:, None]
    begun = starts.long().cumsum(1)
    return (begun > functional.pad(begun, (width, 0))[:, :size]).to(lengths.device)


class GatedWavLM(GatedEncoder):
    """WavLM encoder (arXiv 2110.13900) with a gate before each block, from waveform to hidden frames.

    Built on torchaudio's blocks. The relative position bias, which WavLM computes in its first block, is computed
    outside the gates, so any block can be closed. An utterance's output does not depend on what it is batched with.

    The defaults are those of WavLM Base; `GatedWavLM.from_pretrained` takes them from the checkpoint.

    Parameters
    ----------
    num_blocks, d_model, d_ffn, num_heads : int
    conv_layers : list of (channels, kernel, stride)
        Convolutions over the waveform.
    conv_norm : {"group", "layer"}
        "group": each channel over time after the first convolution (Base); "layer": each frame, after all (Large).
    conv_bias : bool
    pre_norm : bool
        False: LayerNorm after the residual sums (Base). True: before (Large), and once after the last block.
    num_buckets, max_distance : int
        Of the relative position bias.
    positional_kernel, positional_groups : int
        Of the positional convolution.
    dropout, attention_dropout, activation_dropout, projection_dropout : float
        After each branch; of attention weights; within the feed-forward; before the positional convolution.
    closed_norm : bool
        What a closed gate does. False: the identity. True: the block's closing LayerNorm still runs (post-norm only).
    mask_time_share, mask_time_width : float, int
        In training: spans of frames that become the mask embedding.
    mask_channel_share, mask_channel_width : float, int
        In training: spans of channels that become zero.
    weighted_sum : bool
        The output is a learned mean of what enters the first block and what every block puts out; a closed block
        puts out its input, so all gate vectors have the same number of terms.
    freeze_extractor : bool
        The convolutions over the waveform are not trained.
    freeze_updates : int
        For so many updates nothing of the encoder is trained but the weights of `weighted_sum` (see `on_update`).
    lr_scale : float
        Learning rate of the encoder as a multiple of the head's (see `parameter_groups`).
    layer_decay : float
        Factor on it from each block to the one below.
    gradient_checkpointing : bool
        In training keep only each block's input and compute the rest again: less memory, more time.
    low_precision : {None, "extractor", "all"}
        bfloat16 in the convolutions over the waveform, or everywhere that autocast allows it.

    Examples
    --------
    >>> small = {"num_blocks": 3, "d_model": 16, "d_ffn": 32, "num_heads": 2, "positional_kernel": 4}
    >>> conv = [[8, 10, 5], [8, 8, 8], [8, 8, 8]]
    >>> encoder = GatedWavLM(**small, conv_layers=conv, positional_groups=2).eval()
    >>> hidden, lengths = encoder(torch.randn(2, 16000), torch.tensor([16000, 8000]), gates=(False, True, True))
    >>> hidden.shape, lengths.tolist()
    (torch.Size([2, 49, 16]), [49, 24])
    """

    def __init__(
        self,
        num_blocks=12,
        d_model=768,
        d_ffn=3072,
        num_heads=12,
        conv_layers=CONV_LAYERS,
        conv_norm="group",
        conv_bias=False,
        pre_norm=False,
        num_buckets=320,
        max_distance=800,
        positional_kernel=128,
        positional_groups=16,
        dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.0,
        projection_dropout=0.1,
        closed_norm=False,
        mask_time_share=0.0,
        mask_time_width=10,
        mask_channel_share=0.0,
        mask_channel_width=64,
        weighted_sum=False,
        freeze_extractor=True,
        freeze_updates=0,
        lr_scale=1.0,
        layer_decay=1.0,
        gradient_checkpointing=False,
        low_precision=None,
    ):
        super().__init__()
        require(self, COUNT, num_blocks=num_blocks, d_model=d_model, d_ffn=d_ffn, num_heads=num_heads)
        require(self, COUNT, positional_kernel=positional_kernel, positional_groups=positional_groups)
        require(self, ListOf(ListOf(COUNT, 3)), conv_layers=conv_layers)
        require(self, Choice("group", "layer"), conv_norm=conv_norm)
        require(self, LOW_PRECISION, low_precision=low_precision)
        require(self, Whole(low=4), num_buckets=num_buckets)
        require(self, Whole(low=num_buckets // 4 + 1), max_distance=max_distance)
        require(self, RATE, dropout=dropout, attention_dropout=attention_dropout)
        require(self, RATE, activation_dropout=activation_dropout, projection_dropout=projection_dropout)
        require(self, SHARE, mask_time_share=mask_time_share, mask_channel_share=mask_channel_share)
        require(self, COUNT, mask_time_width=mask_time_width, mask_channel_width=mask_channel_width)
        require(self, FLAG, conv_bias=conv_bias, pre_norm=pre_norm, closed_norm=closed_norm, weighted_sum=weighted_sum)
        require(self, FLAG, freeze_extractor=freeze_extractor, gradient_checkpointing=gradient_checkpointing)
        require(self, NOT_NEGATIVE, freeze_updates=freeze_updates)
        require(self, AT_LEAST_0, lr_scale=lr_scale)
        require(self, Number(above=0, high=1), layer_decay=layer_decay)
        if closed_norm and pre_norm:
            raise DldError("closed_norm: a pre-norm block has no closing LayerNorm; set it to false")
        if d_model % num_heads or d_model % positional_groups:
            raise DldError(
                f"d_model {d_model} must be a multiple of num_heads {num_heads} "
                f"and of positional_groups {positional_groups}"
            )
        model = torchaudio.models.wavlm_model(
            extractor_mode=f"{conv_norm}_norm",
            extractor_conv_layer_config=[tuple(layer) for layer in conv_layers],
            extractor_conv_bias=conv_bias,
            encoder_embed_dim=d_model,
            encoder_projection_dropout=projection_dropout,
            encoder_pos_conv_kernel=positional_kernel,
            encoder_pos_conv_groups=positional_groups,
            encoder_num_layers=num_blocks,
            encoder_num_heads=num_heads,
            encoder_num_buckets=num_buckets,
            encoder_max_distance=max_distance,
            encoder_attention_dropout=attention_dropout,
            encoder_ff_interm_features=d_ffn,
            encoder_ff_interm_dropout=activation_dropout,
            encoder_dropout=dropout,
            encoder_layer_norm_first=pre_norm,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        transformer = model.encoder.transformer
        self.input_size = 1
        self.num_blocks = num_blocks
        self.output_size = d_model
        self.extractor = ConvExtractor(model.feature_extractor.conv_layers, low_precision is not None)
        self.subsampling = self.extractor.hop
        self.overlap = self.extractor.window - self.extractor.hop
        self.projection = model.encoder.feature_projection
        self.mask_embedding = nn.Parameter(torch.rand(d_model))
        self.positional = SpectralPositions(d_model, positional_kernel, positional_groups)
        self.positions = RelativePositions(transformer.layers[0].attention.rel_attn_embed, max_distance)
        self.layers = transformer.layers
        for layer in self.layers:
            layer.attention = GatedBiasAttention(d_model, num_heads, attention_dropout)
            layer.feed_forward = FusedFeedForward(d_model, d_ffn, activation_dropout, dropout)
        self.norm = transformer.layer_norm
        self.dropout = transformer.dropout
        self.layer_weights = nn.Parameter(torch.zeros(num_blocks + 1)) if weighted_sum else None
        self.pre_norm = pre_norm
        self.closed_norm = closed_norm
        self.mask_time = (mask_time_share, mask_time_width)
        self.mask_channel = (mask_channel_share, mask_channel_width)
        self.freeze_extractor = freeze_extractor
        self.freeze_updates = freeze_updates
        self.frozen = freeze_updates > 0
        self.lr_scale = lr_scale
        self.layer_decay = layer_decay
        self.gradient_checkpointing = gradient_checkpointing
        self.low_precision = low_precision
        self.extractor.requires_grad_(not freeze_extractor)
        self.apply(_initialise)

    # ------------------------------------------------------------ weights

    @classmethod
    def from_pretrained(cls, source, **settings):
        """Make an encoder of a checkpoint's shape, with its weights.

        Parameters
        ----------
        source : str or Path
            A torchaudio bundle (WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE), a HuggingFace folder or hub id.
        settings
            Arguments of the constructor that are to be others than the checkpoint's.

        Returns
        -------
        GatedWavLM
        """
        pretrained = read_pretrained(source)
        encoder = cls(**{**pretrained.architecture, **settings})
        encoder._load(pretrained)
        return encoder

    def load_pretrained(self, source):
        """Load the weights of a checkpoint of the same shape, see `from_pretrained`."""
        self._load(read_pretrained(source))

    def _load(self, pretrained):
        load_exactly(self, pretrained.state, pretrained.source, OPTIONAL_WEIGHTS)

    # ------------------------------------------------------------ training

    def on_update(self, update):
        """Freeze or unfreeze the encoder before update number `update`, counted from 0.

        What is trained depends on this number alone, so a resumed run goes on as it would have.
        """
        self.frozen = update < self.freeze_updates

    def parameter_groups(self):
        """Parameters for an optimizer, in groups that each have their `lr_scale`; every one is in one group.

        Block i of N has `lr_scale · layer_decay ** (N - 1 - i)`, what is before the blocks another factor
        `layer_decay`, the weights of the weighted sum 1.

        Returns
        -------
        list of dict
            With "params" and "lr_scale".
        """
        groups = [(1.0, [self.layer_weights] if self.layer_weights is not None else [])]
        groups.append((self.lr_scale, list(self.norm.parameters()) if self.pre_norm else []))
        for index in reversed(range(self.num_blocks)):
            scale = self.lr_scale * self.layer_decay ** (self.num_blocks - 1 - index)
            groups.append((scale, list(self.layers[index].parameters())))
        taken = {id(p) for _, parameters in groups for p in parameters}
        below = [p for p in self.parameters() if id(p) not in taken]
        groups.append((self.lr_scale * self.layer_decay**self.num_blocks, below))
        return [{"params": parameters, "lr_scale": scale} for scale, parameters in groups if parameters]

    @contextlib.contextmanager
    def _running(self, frozen):
        """Gradients where they are wanted, low precision where it is."""
        device = self.mask_embedding.device.type
        precision = torch.autocast(device, torch.bfloat16) if self.low_precision == "all" else contextlib.nullcontext()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.training and frozen)), precision:
            yield

    # ------------------------------------------------------------ forward

    def embed(self, features, lengths):
        """Everything before the blocks: waveforms (batch, samples), (batch,) samples → `Embedded`."""
        with self._running(self.frozen or self.freeze_extractor):
            hidden, lengths = self.extractor(features, lengths)
        with self._running(self.frozen):
            hidden = self.projection(hidden.to(self.projection.layer_norm.weight.dtype))
            if self.training:
                hidden = self._mask(hidden, lengths)
            padding = padding_mask(lengths, hidden.shape[1])
            hidden = hidden.masked_fill(padding[..., None], 0.0)
            hidden = hidden + self.positional(hidden)
            if not self.pre_norm:
                hidden = self.norm(hidden)
            positions = self.positions(hidden.shape[1])
            return Embedded(self.dropout(hidden), lengths, padding if padding.any() else None, positions)

    def _mask(self, hidden, lengths):
        share, width = self.mask_time
        if share:
            mask = span_mask(lengths, hidden.shape[1], share, width)[..., None]
            hidden = torch.where(mask, self.mask_embedding.to(hidden.dtype), hidden)
        share, width = self.mask_channel
        if share:
            channels = torch.full_like(lengths, hidden.shape[2])
            hidden = hidden.masked_fill(span_mask(channels, hidden.shape[2], share, width)[:, None], 0.0)
        return hidden

    def run_block(self, index, hidden, embedded):
        with self._running(self.frozen):
            if self.training and self.gradient_checkpointing and torch.is_grad_enabled():
                return checkpoint(self._block, index, hidden, embedded.positions, embedded.padding, use_reentrant=False)
            return self._block(index, hidden, embedded.positions, embedded.padding)

    def _block(self, index, hidden, positions, padding):
        bias = self.positions.expand(positions)
        return self.layers[index](hidden, position_bias=bias, key_padding_mask=padding)[0]

    def skip_block(self, index, hidden):
        return self.layers[index].final_layer_norm(hidden) if self.closed_norm else hidden

    def finish(self, hidden):
        return self.norm(hidden) if self.pre_norm else hidden

    def finish_path(self, path):
        if self.layer_weights is None:
            return self.finish(path[-1])
        weights = self.layer_weights.softmax(0)
        return self.finish(sum(weight * hidden for weight, hidden in zip(weights, path, strict=True)))


def _initialise(module):
    """Small weights to begin with, as in BERT; WavLM's authors start so too."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=0.02)
