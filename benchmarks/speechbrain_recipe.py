"""The training loop of SpeechBrain's recipes, with its own parts: what `train_speed.py` compares dld's with.

The model is that of `recipes/LibriSpeech/ASR/transformer/hparams/conformer_large.yaml` without its decoder and with CTC
alone, in another size; the data come through a CSV file. Augmentation is off, as it is in dld's loop there.
"""

import csv
import functools

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.dataset import DynamicItemDataset, add_dynamic_item, set_output_keys
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.convolution import ConvolutionFrontEnd
from speechbrain.lobes.models.transformer.TransformerASR import EncoderWrapper, TransformerASR
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ctc_loss
from speechbrain.nnet.schedulers import NoamScheduler
from speechbrain.processing.features import InputNormalization


class RecipeBrain(sb.Brain):
    """CTC on a Conformer, as SpeechBrain's recipes write it."""

    def compute_forward(self, batch, stage):
        batch = batch.to(self.device)
        waveforms, lengths = batch.sig
        features = self.hparams.compute_features(waveforms)
        features = self.modules.normalize(features, lengths, epoch=1)
        hidden = self.modules.encoder(self.modules.CNN(features), lengths)
        return self.hparams.log_softmax(self.modules.ctc_lin(hidden)), lengths

    def compute_objectives(self, predictions, batch, stage):
        log_probs, lengths = predictions
        tokens, token_lengths = batch.tokens
        return self.hparams.ctc_cost(log_probs, tokens, lengths, token_lengths)

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        if should_step:
            self.hparams.noam_annealing(self.optimizer)


def write_csv(path, utterances):
    """Write the manifest that SpeechBrain's recipes read, of whole files."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["ID", "duration", "wav", "spk_id", "wrd"])
        rows.writerows([u.id, u.duration, u.recording, u.speaker, u.text] for u in utterances)


def make_loader(manifest, processor, batches):
    """Return SpeechBrain's loader of given batches, lists of ids.

    Parameters
    ----------
    manifest : str
        From `write_csv`.
    processor : SentencePieceProcessor
    batches : list of list of str
    """
    data = DynamicItemDataset.from_csv(manifest)

    @sb.utils.data_pipeline.takes("wav")
    @sb.utils.data_pipeline.provides("sig")
    def audio(wav):
        return sb.dataio.dataio.read_audio(wav)

    @sb.utils.data_pipeline.takes("wrd")
    @sb.utils.data_pipeline.provides("wrd", "tokens_list", "tokens")
    def text(wrd):
        yield wrd
        tokens = processor.encode_as_ids(wrd)
        yield tokens
        yield torch.LongTensor(tokens)

    add_dynamic_item([data], audio)
    add_dynamic_item([data], text)
    set_output_keys([data], ["id", "sig", "wrd", "tokens"])
    index = {name: number for number, name in enumerate(data.data_ids)}
    sampler = [[index[name] for name in batch] for batch in batches]
    return SaveableDataLoader(data, batch_sampler=sampler, collate_fn=PaddedBatch)


def make_front_end():
    """Return SpeechBrain's filter bank with the windows of dld's recipes."""
    return Fbank(sample_rate=16000, n_fft=512, n_mels=80, win_length=25, hop_length=10)


def make_brain(size, vocab_size):
    """Return the recipe's Brain.

    Parameters
    ----------
    size : dict
        d_model, d_ffn, num_heads, kernel_size, num_blocks.
    vocab_size : int
    """
    convolutions = ConvolutionFrontEnd(
        input_shape=(8, 10, 80),
        num_blocks=2,
        num_layers_per_block=1,
        out_channels=(64, 32),
        kernel_sizes=(3, 3),
        strides=(2, 2),
        residuals=(False, False),
    )
    transformer = TransformerASR(
        tgt_vocab=vocab_size,
        input_size=640,
        d_model=size["d_model"],
        nhead=size["num_heads"],
        num_encoder_layers=size["num_blocks"],
        num_decoder_layers=0,
        d_ffn=size["d_ffn"],
        dropout=0.1,
        activation=torch.nn.GELU,
        kernel_size=size["kernel_size"],
        encoder_module="conformer",
        attention_type="RelPosMHAXL",
        normalize_before=True,
        causal=False,
    )
    modules = {
        "CNN": convolutions,
        "encoder": EncoderWrapper(transformer),
        "ctc_lin": Linear(input_size=size["d_model"], n_neurons=vocab_size),
        "normalize": InputNormalization(norm_type="global"),
    }
    hparams = {
        "compute_features": make_front_end(),
        "log_softmax": torch.nn.LogSoftmax(dim=-1),
        "ctc_cost": functools.partial(ctc_loss, blank_index=0, reduction="batchmean"),
        "noam_annealing": NoamScheduler(lr_initial=0.0008, n_warmup_steps=30000),
        "max_grad_norm": 5.0,
    }
    optimizer = functools.partial(torch.optim.AdamW, lr=0.0008, betas=(0.9, 0.98), eps=1e-9)
    return RecipeBrain(modules, optimizer, hparams, {"device": "cpu", "noprogressbar": True})
