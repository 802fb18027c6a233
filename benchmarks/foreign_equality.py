"""Whether released versions of sherpa-onnx and onnx-asr write what dld writes: texts of a test set at each depth.

Models with the front end `KaldiFbank` run as `zipformer_ctc`, and in onnx-asr; others as `omnilingual`, in sherpa-onnx
alone. Spaces do not count: runtimes write those between tokens as they come.

    cd recipes/mini     # with sherpa-onnx and onnx-asr installed (extra test)
    python ../../benchmarks/foreign_equality.py --exp exp/dld --data data/test --output RESULT.json
"""

import argparse
import json
import tempfile
from pathlib import Path

import onnx_asr
import sherpa_onnx

import dld
from dld.bin import export
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.files import write_json
from dld.provenance import git_hash, versions
from dld.scoring.alignment import wer


def sherpa_texts(folder: Path, name: str, kind: str, waveforms: list) -> list[str]:
    """Return what sherpa-onnx writes with a model of an exported folder."""
    make = {
        "zipformer_ctc": sherpa_onnx.OfflineRecognizer.from_zipformer_ctc,
        "omnilingual": sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc,
    }[kind]
    client = make(f"{folder}/{name}", f"{folder}/tokens.txt")
    texts = []
    for waveform in waveforms:
        stream = client.create_stream()
        stream.accept_waveform(16000, waveform)
        client.decode_stream(stream)
        texts.append(stream.result.text)
    return texts


def equal(found: list[str], expected: list[str]) -> int:
    """Return how many texts have the same words."""
    return sum(a.split() == b.split() for a, b in zip(found, expected, strict=True))


def main() -> None:
    """Export, decode with every client and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", required=True, help="folder of a trained experiment")
    parser.add_argument("--data", required=True, help="Kaldi data directory")
    parser.add_argument("--depths", default="all", help="such as 2,4,12 (%(default)s)")
    parser.add_argument("--onnx-asr-depths", default="1,4,8,12", help="each is an export of its own")
    parser.add_argument("--output", help="JSON file to write")
    arguments = parser.parse_args()
    utterances = kaldi.load(arguments.data)
    references = [u.text for u in utterances]
    waveforms = [read_audio(u.recording, u.start or 0.0, u.end) for u in utterances]
    model = dld.load_model(arguments.exp)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export.main([arguments.exp, "--out", f"{folder}/pack"])
        options = ["--format", "sherpa-onnx", "--depths", arguments.depths]
        export.main([arguments.exp, "--out", f"{folder}/sherpa", *options])
        pack = dld.load_model(folder / "pack")
        listed = json.loads((folder / "sherpa/models.json").read_text())
        for about in listed["models"]:
            gates, kind = about["gates"], listed["kind"]
            expected = model.transcribe(waveforms, sample_rate=16000, gates=gates)
            row = {"depth": gates.count("1"), "gates": gates, "utterances": len(expected)}
            row["pack"] = equal(pack.transcribe(waveforms, sample_rate=16000, gates=gates), expected)
            found = sherpa_texts(folder / "sherpa", about["file"], kind, waveforms)
            row |= {"kind": kind, "sherpa-onnx": equal(found, expected)}
            row |= {"WER": round(wer(references, expected), 2), "WER in sherpa-onnx": round(wer(references, found), 2)}
            if kind == "zipformer_ctc" and str(row["depth"]) in arguments.onnx_asr_depths.split(","):
                out = folder / f"onnx-asr-{row['depth']}"
                export.main([arguments.exp, "--out", str(out), "--format", "onnx-asr", "--gates", gates])
                client = onnx_asr.load_model("kaldi-rnnt", out)
                row["onnx-asr"] = equal([client.recognize(w, sample_rate=16000) for w in waveforms], expected)
            print(row, flush=True)
            rows.append(row)
    if arguments.output:
        clients = {"sherpa-onnx": sherpa_onnx.__version__, "onnx-asr": onnx_asr.__version__}
        write_json(arguments.output, {"git": git_hash(), "versions": {**versions(), **clients}, "rows": rows})


if __name__ == "__main__":
    main()
