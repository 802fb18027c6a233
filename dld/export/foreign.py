"""Models for runtimes of others: sherpa-onnx, unmodified, and onnx-asr."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

import dld
from dld.errors import DldError
from dld.export.compose import Composer, add_network, shortened
from dld.export.pack import new_folder, write_tokens
from dld.export.pieces import OPSET, Pieces, trace
from dld.export.quantise import quantise
from dld.files import atomic_write, write_json
from dld.frontends import KaldiFbank
from dld.gates import depth, format_gates
from dld.packs.metadata import TOKENS
from dld.recognition.eager import EagerRecognizer

#: What a folder of such models has: what each file is, for people and programs.
MODELS = "models.json"
#: Kaldi features as sherpa-onnx and onnx-asr compute them.
RUNTIME_FEATURES = {"sample_rate": 16000, "n_mels": 80, "window": 400, "hop": 160} | {
    "snip_edges": False,
    "low_hz": 20.0,
    "high_hz": -400.0,
}
SUBSAMPLING = 4
#: Seconds of a frame as sherpa-onnx's omnilingual models have it.
OMNILINGUAL_FRAME = 0.02
#: Smaller tensors stay in the graph where weights are shared.
SHARED_BYTES = 1024
_NEVER = -1e4


@dataclass
class Weights:
    """Tensors of several graphs in one file, each content once.

    Attributes
    ----------
    name : str
        Of the file.
    content : bytearray
    """

    name: str
    content: bytearray = field(default_factory=bytearray)
    offsets: dict[bytes, int] = field(default_factory=dict)

    def take(self, model: onnx.ModelProto) -> None:
        """Move the large tensors of a graph into the file."""
        for tensor in model.graph.initializer:
            raw = tensor.raw_data
            if len(raw) < SHARED_BYTES:
                continue
            key = hashlib.sha256(raw).digest()
            if key not in self.offsets:
                self.content += bytes(-len(self.content) % 64)
                self.offsets[key] = len(self.content)
                self.content += raw
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            entries = {"location": self.name, "offset": str(self.offsets[key]), "length": str(len(raw))}
            for name, value in entries.items():
                tensor.external_data.add(key=name, value=value)


def export_sherpa(
    recognizer: EagerRecognizer, folder: str | Path, gate_vectors: Sequence[Sequence[bool]], precision: str = "float32"
) -> dict:
    """Write models that released versions of sherpa-onnx run, one for each gate vector, and `tokens.txt`.

    A model with the front end `KaldiFbank` is run as `zipformer_ctc`, which computes the same features; any other as
    `omnilingual`, which takes the waveform. Several models share the file of their weights.

    Parameters
    ----------
    recognizer : EagerRecognizer
    folder : str or Path
    gate_vectors : list of gate vectors
    precision : {"float32", "int8"}

    Returns
    -------
    dict
        The content of `models.json`.

    Raises
    ------
    DldError
        sherpa-onnx does not compute what the model takes.
    """
    features = isinstance(recognizer.network.frontend, KaldiFbank)
    if features:
        check_features(recognizer, "sherpa-onnx")
    elif recognizer.sample_rate != RUNTIME_FEATURES["sample_rate"]:
        raise DldError(f"sherpa-onnx gives such models 16000 Hz, and this one takes {recognizer.sample_rate} Hz")
    pieces = traced(recognizer, "features" if features else "restored", precision)
    kind = "zipformer_ctc" if features else "omnilingual"
    suffix = ".int8.onnx" if precision == "int8" else ".onnx"
    several = len(gate_vectors) > 1
    weights = Weights(f"weights{suffix.removesuffix('.onnx')}.bin")
    with new_folder(folder, MODELS) as work:
        entries = []
        for gates in gate_vectors:
            model = zipformer(pieces, gates) if features else omnilingual(pieces, gates, repeats(recognizer))
            if several:
                weights.take(model)
            name = f"model-{depth(gates):02}{suffix}" if several else f"model{suffix}"
            write_model(model, work / name)
            entries.append({"file": name, "depth": depth(gates), "gates": format_gates(gates)})
        if several:
            with atomic_write(work / weights.name, "wb") as out:
                out.write(weights.content)
        return finish(recognizer, work, {"runtime": "sherpa-onnx", "kind": kind, "precision": precision}, entries)


def export_onnx_asr(
    recognizer: EagerRecognizer, folder: str | Path, gates: Sequence[bool], precision: str = "float32"
) -> dict:
    """Write a model that onnx-asr runs as its type `kaldi-rnnt`, which computes the features of `KaldiFbank`.

    Its types for CTC compute other features. A transducer that takes one token a frame is a CTC model if the graph
    itself turns repeated tokens into blanks, and if the joiner returns the encoder's output, as here.

    Raises
    ------
    DldError
        onnx-asr does not compute what the model takes.
    """
    check_features(recognizer, "onnx-asr")
    pieces = traced(recognizer, "features", precision)
    suffix = ".int8.onnx" if precision == "int8" else ".onnx"
    with new_folder(folder, MODELS) as work:
        write_model(transducer(pieces, gates), work / f"am/encoder{suffix}")
        for name, model in zip(("decoder", "joiner"), idle_transducer(recognizer.network.vocab_size), strict=True):
            write_model(model, work / f"am/{name}{suffix}")
        config = {"model_type": "kaldi-rnnt", "features_size": 80, "subsampling_factor": SUBSAMPLING}
        write_json(work / "config.json", {**config, "max_tokens_per_step": 1})
        entry = {"file": f"am/encoder{suffix}", "depth": depth(gates), "gates": format_gates(gates)}
        about = finish(recognizer, work, {"runtime": "onnx-asr", "kind": "kaldi-rnnt", "precision": precision}, [entry])
        (work / "lang").mkdir()
        (work / TOKENS).rename(work / "lang" / TOKENS)
        return about


def check_features(recognizer: EagerRecognizer, runtime: str) -> None:
    """Raise a `DldError` if a runtime's Kaldi features are not those that a model takes."""
    frontend, encoder = recognizer.network.frontend, recognizer.network.encoder
    if not isinstance(frontend, KaldiFbank):
        raise DldError(
            f"{runtime} computes Kaldi features, and the front end of this model is {type(frontend).__name__}; "
            "train one with KaldiFbank, or export to another format"
        )
    config = frontend.config
    wrong = [
        f"{key} {config[key]} instead of {value}" for key, value in RUNTIME_FEATURES.items() if config[key] != value
    ]
    if encoder.subsampling != SUBSAMPLING:
        wrong.append(f"subsampling {encoder.subsampling} instead of {SUBSAMPLING}")
    if wrong:
        raise DldError(f"{runtime} computes other features than this model takes: the model has {', '.join(wrong)}")


def traced(recognizer: EagerRecognizer, takes: str, precision: str) -> Pieces:
    """Return the pieces of a model, quantised where that is asked for."""
    pieces = trace(recognizer.network, takes)
    return quantise(pieces) if precision == "int8" else pieces


def repeats(recognizer: EagerRecognizer) -> int:
    """Return how many of sherpa-onnx's frames one of the encoder takes."""
    network = recognizer.network
    seconds = network.encoder.subsampling * network.frontend.hop / recognizer.sample_rate
    return max(1, round(seconds / OMNILINGUAL_FRAME))


# ------------------------------------------------------------ graphs


def zipformer(pieces: Pieces, gates: Sequence[bool]) -> onnx.ModelProto:
    """Return x (N, T, 80), x_lens (N) → log_probs (N, T / 4, tokens), log_probs_len (N)."""
    composer = Composer()
    add_network(composer, pieces, gates)
    composer.node("LogSoftmax", ["logits"], ["log_probs"], axis=-1)
    composer.node("Identity", ["lengths"], ["log_probs_len"])
    return composer.model(list(pieces.front.graph.input), batch_outputs(pieces, "log_probs", "log_probs_len"), OPSET)


def omnilingual(pieces: Pieces, gates: Sequence[bool], repeated: int) -> onnx.ModelProto:
    """Return the normalised waveform (1, samples) → logits (1, frames, tokens), every frame `repeated` times."""
    composer = Composer()
    add_network(composer, pieces, gates)
    tokens = vocab_size(pieces)
    composer.node("Concat", ["logits"] * repeated, ["wide"], axis=2)
    composer.node("Reshape", ["wide", composer.constant("repeated", np.array([1, -1, tokens]))], ["repeated_logits"])
    output = helper.make_tensor_value_info("repeated_logits", TensorProto.FLOAT, [1, "frames", tokens])
    return composer.model(list(pieces.front.graph.input), [output], OPSET)


def transducer(pieces: Pieces, gates: Sequence[bool]) -> onnx.ModelProto:
    """Return x, x_lens → encoder_out (N, T / 4, tokens), encoder_out_lens: tokens that repeat are blanks."""
    composer = Composer()
    add_network(composer, pieces, gates)
    tokens = vocab_size(pieces)
    one_hot = np.full((1, 1, tokens), _NEVER, np.float32)
    one_hot[..., 0] = 0
    starts, ends, axis = (composer.constant(name, np.array([n])) for name, n in (("s", 0), ("e", -1), ("axis", 1)))
    composer.node("LogSoftmax", ["logits"], ["log_probs"], axis=-1)
    composer.node("ArgMax", ["log_probs"], ["best"], axis=2, keepdims=1)
    composer.node("Slice", ["best", starts, ends, axis], ["before"])
    pads = composer.constant("pads", np.array([0, 1, 0, 0, 0, 0]))
    composer.node("Pad", ["before", pads, composer.constant("none", np.array(-1))], ["previous"])
    composer.node("Equal", ["best", "previous"], ["repeats"])
    composer.node("Where", ["repeats", composer.constant("blank", one_hot), "log_probs"], ["encoder_out"])
    composer.node("Identity", ["lengths"], ["encoder_out_lens"])
    outputs = batch_outputs(pieces, "encoder_out", "encoder_out_lens")
    return composer.model(list(pieces.front.graph.input), outputs, OPSET)


def idle_transducer(tokens: int) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return a decoder whose output is constant, and a joiner that returns the encoder's output."""
    decoder, joiner = Composer(), Composer()
    constant = decoder.constant("constant", np.zeros((1, 1), np.float32))
    decoder.node("Identity", [constant], ["decoder_out"])
    joiner.node("Mul", ["decoder_out", joiner.constant("zero", np.float32(0))], ["nothing"])
    joiner.node("Add", ["encoder_out", "nothing"], ["logit"])
    context = helper.make_tensor_value_info("decoder_out", TensorProto.FLOAT, [1, 1])
    given = helper.make_tensor_value_info("y", TensorProto.INT64, [1, 2])
    scores = helper.make_tensor_value_info("encoder_out", TensorProto.FLOAT, [1, tokens])
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, [1, tokens])
    return decoder.model([given], [context], OPSET), joiner.model([scores, context], [logit], OPSET)


def vocab_size(pieces: Pieces) -> int:
    """Return the outputs of the head."""
    return pieces.heads[0].graph.output[0].type.tensor_type.shape.dim[2].dim_value


def batch_outputs(pieces: Pieces, logits: str, lengths: str) -> list[onnx.ValueInfoProto]:
    """Return the outputs of a graph that takes features."""
    frames = helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", "frames", vocab_size(pieces)])
    return [frames, helper.make_tensor_value_info(lengths, TensorProto.INT64, ["batch"])]


# ------------------------------------------------------------ files


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph."""
    with atomic_write(path, "wb") as out:
        out.write(shortened(model).SerializeToString())


def finish(recognizer: EagerRecognizer, folder: Path, kind: dict, entries: list[dict]) -> dict:
    """Write the tokens and `models.json`, and return the content of that."""
    write_tokens(recognizer.tokenizer, folder)
    about = recognizer.about
    origin = {"system": about.system, "state_sha256": about.state_sha256} if about else {}
    content = {**kind, "dld": dld.__version__, "num_blocks": recognizer.num_blocks, **origin, "models": entries}
    write_json(folder / MODELS, content)
    return content
