"""What is wrong with a pack is said in one line, before anything of it runs."""

import hashlib
import json
import os
import shutil

import onnx
import pytest

import dld
from dld.errors import DldError
from dld.export.pack import export_pack
from dld.packs.metadata import METADATA, digest, read


@pytest.fixture
def copy(pack, tmp_path):
    """A copy of a pack, to be damaged."""
    return shutil.copytree(pack, tmp_path / "pack")


def change(folder, **changes):
    """Change keys of the metadata, with a hash that fits; `a__b` is the key b of a."""
    content = json.loads((folder / METADATA).read_text())
    for name, value in changes.items():
        *above, key = name.split("__")
        place = content
        for step in above:
            place = place[step]
        if value is None:
            del place[key]
        else:
            place[key] = value
    content["sha256"] = digest(content)
    (folder / METADATA).write_text(json.dumps(content))


def replace(folder, name, content):
    """Replace a file of a pack, with metadata that fit."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / METADATA).read_text())["files"]
    files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(folder, files=files)


def refused(folder, match):
    with pytest.raises(DldError, match=match) as error:
        dld.load_model(folder)
    message = str(error.value)
    assert "\n" not in message and str(folder) in message


def test_a_pack_is_read(pack):
    metadata = read(pack)
    assert metadata.num_blocks == 3 and metadata.precision == "float32"
    assert set(metadata.files) | {METADATA} == set(os.listdir(pack))


@pytest.mark.parametrize("name", ["front.onnx", "block_01.onnx", "head.onnx", "tokens.txt", "bpe.model"])
def test_files_that_are_not_what_was_exported(copy, name):
    path = copy / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    refused(copy, f"{name}: truncated, it has {len(content) - 1} bytes instead of {len(content)}")
    path.write_bytes(content + b"\0")
    refused(copy, f"{name}: not the file that was exported")
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    refused(copy, f"{name}: damaged or of another pack")
    path.unlink()
    refused(copy, f"{name}: no such file")
    path.mkdir()
    refused(copy, f"{name}: is not a regular file")
    path.rmdir()
    os.mkfifo(path)
    refused(copy, f"{name}: is not a regular file")


def test_swapped_files(copy):
    (copy / "block_00.onnx").rename(copy / "aside")
    (copy / "block_02.onnx").rename(copy / "block_00.onnx")
    (copy / "aside").rename(copy / "block_02.onnx")
    refused(copy, "block_0[02].onnx: has the content of block_0[20].onnx")


def test_links(copy, pack):
    (copy / "head.onnx").unlink()
    (copy / "head.onnx").symlink_to(pack / "head.onnx")
    refused(copy, "head.onnx: is a link, and packs have none")
    (copy / METADATA).unlink()
    (copy / METADATA).symlink_to(pack / METADATA)
    refused(copy, "metadata.json: is a link, and packs have none")


@pytest.mark.parametrize(
    "name", ["../head.onnx", "/etc/passwd", "a/../head.onnx", "..", ".hidden", "", "a\0b", METADATA]
)
def test_paths_that_leave_the_folder(copy, name):
    record = json.loads((copy / METADATA).read_text())["files"]["head.onnx"]
    files = {**json.loads((copy / METADATA).read_text())["files"], name: record}
    change(copy, files=files, graphs__heads=[name])
    refused(copy, "is not the name of a file in the pack's own folder")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"version": 2}, "version 2 of the format is newer than this dld reads; update dld"),
        ({"version": 0}, "version 0 of the format is unknown"),
        ({"version": "1"}, "version is text, expected a whole number"),
        ({"format": "other"}, "format is 'other', not 'dld-pack'"),
        ({"format": None}, "lacks format; it is not a pack of dld"),
        ({"shape": 1}, "unknown key shape"),
        ({"graphs__run": "x.py"}, "unknown key graphs.run"),
        ({"model__url": "x"}, "unknown key model.url"),
        ({"policy": None}, "lacks policy"),
        ({"policy": "best"}, "policy is 'best'; known are"),
        ({"precision": "int4"}, "precision is 'int4'; this version runs float32 and int8"),
        ({"sample_rate": 0}, "sample_rate is 0; it must be a whole number from 1000 to 384000"),
        ({"sample_rate": 10**9}, "sample_rate is 1000000000; it must be"),
        ({"sample_rate": 10**400}, "sample_rate is 10+...; it must be"),
        ({"min_samples": 10**18}, "min_samples is 1000000000000000000; it must be"),
        ({"max_seconds": -1}, "max_seconds is -1; it must be"),
        ({"frame_seconds": 1e300}, "frame_seconds is 1e.300; it must be"),
        ({"channel": -1}, "channel is -1; it must be"),
        ({"version": 10**400}, "version 10+... of the format is newer"),
        ({"line\nbreak": 1}, r"unknown key line\\nbreak"),
        ({"files__line\nbreak": 1}, r"files: line\\nbreak: an object was expected"),
        ({"sample_rate": "16000"}, "sample_rate is text"),
        ({"num_blocks": 4}, "graphs: blocks has 3 and skips 0 files, not 4"),
        ({"vocab_size": 31}, "31 outputs, but 32 tokens"),
        ({"graphs__heads": ["head.onnx", "head.onnx"]}, "heads has 2 files, 1 or 3 were expected"),
        ({"graphs__front": "missing.onnx"}, "files lacks 'missing.onnx'"),
        ({"gate_table": {"2": "111"}}, "gate table: the vector 111 at depth 2 opens 3 gates"),
        ({"gate_table": {"two": "110"}}, "gate_table is not of depths and gate vectors"),
        ({"depths": []}, "depths does not list the depths 1 to 3"),
    ],
)
def test_metadata_that_this_version_does_not_write(copy, changes, match):
    change(copy, **changes)
    refused(copy, match)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04"]
)
def test_metadata_that_is_not_of_a_pack(copy, content):
    (copy / METADATA).write_bytes(content)
    refused(copy, "metadata.json")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"graphs__context": ["positions", "more"]}, "front.onnx: has 1 outputs next to hidden instead of 2"),
        ({"graphs__context": []}, "front.onnx: has 1 outputs next to hidden instead of 0"),
        ({"graphs__heads": ["block_00.onnx"]}, "block_00.onnx: "),
    ],
)
def test_graphs_that_do_not_fit_each_other(copy, files, changes, match):
    change(copy, **changes)
    with pytest.raises(DldError, match=match):
        dld.load_model(copy).transcribe(files[0])


def test_a_head_with_other_tokens(copy, files):
    graph = onnx.load(copy / "head.onnx").graph
    name = graph.output[0].name
    fewer = onnx.helper.make_node("Slice", [name, "start", "end", "axis"], ["fewer"])
    for key, value in (("start", 0), ("end", 31), ("axis", 2)):
        graph.initializer.append(onnx.helper.make_tensor(key, onnx.TensorProto.INT64, [1], [value]))
    graph.node.append(fewer)
    graph.output[0].name = "fewer"
    graph.output[0].type.tensor_type.shape.dim[2].dim_value = 31
    opset = onnx.load(copy / "head.onnx").opset_import
    content = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    replace(copy, "head.onnx", content)
    with pytest.raises(DldError, match="head.onnx: does not give the logits of 32 tokens"):
        dld.load_model(copy).transcribe(files[0])


def test_compute_that_is_not_a_part(copy):
    depths = json.loads((copy / METADATA).read_text())["depths"]
    depths[-1]["compute"] = 5.0
    change(copy, depths=depths)
    refused(copy, "the compute of depth 3 is not a part of full compute")


def test_metadata_that_are_too_large_are_not_read(copy):
    os.truncate(copy / METADATA, 1 << 40)
    refused(copy, "has more than 16777216 bytes")


@pytest.mark.parametrize("threads", [0, 257, 10**10, True, 1.0])
def test_threads_that_cannot_be(pack, threads):
    with pytest.raises(DldError, match="threads is .*; it must be a whole number from 1 to 256"):
        dld.load_model(pack, threads=threads)


def test_metadata_that_were_changed_by_hand(copy):
    path = copy / METADATA
    path.write_text(path.read_text().replace('"evenly-spaced"', '"first-n"').replace('"table"', '"first-n"'))
    refused(copy, "metadata.json: damaged or changed by hand")


def test_a_graph_that_changes_after_loading(copy, files):
    model = dld.load_model(copy)
    path = copy / "block_01.onnx"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(DldError, match="block_01.onnx: changed since the pack was loaded"):
        model.transcribe(files[0])


@pytest.mark.parametrize(
    "content", [b"not a graph", b"", b"\n\x08location\x12\x0b/etc/passwd", b"\x12\x0b/etc/passwd\n\x88\x00location"]
)
def test_a_graph_that_is_none(copy, files, content):
    replace(copy, "head.onnx", content)
    with pytest.raises(
        DldError, match="head.onnx: (not a graph that this onnxruntime runs|has weights in another file)"
    ):
        dld.load_model(copy).transcribe(files[0])


def test_a_pack_is_never_half_there(recognizer, tmp_path, monkeypatch):
    monkeypatch.setattr("dld.export.pack.compare", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError):
        export_pack(recognizer, tmp_path / "pack")
    assert os.listdir(tmp_path) == []


def test_what_is_not_a_pack_is_not_replaced(recognizer, pack, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/diary.txt").write_text("mine")
    with pytest.raises(DldError, match="notes: is there already and is not of dld export"):
        export_pack(recognizer, tmp_path / "notes")
    assert (tmp_path / "notes/diary.txt").read_text() == "mine"
    (tmp_path / "link").symlink_to(pack)
    with pytest.raises(DldError, match="link: is there already"):
        export_pack(recognizer, tmp_path / "link")
    (tmp_path / "file").write_text("")
    with pytest.raises(DldError, match="is a file, a folder was expected"):
        export_pack(recognizer, tmp_path / "file")


def test_a_folder_with_other_files_is_not_replaced(recognizer, copy, tmp_path):
    (copy / "diary.txt").write_text("mine")
    with pytest.raises(DldError, match="has 'diary.txt', which dld export did not write"):
        export_pack(recognizer, copy)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / METADATA).write_text('{"title": "of another program"}')
    with pytest.raises(DldError, match="other: is there already and is not of dld export"):
        export_pack(recognizer, tmp_path / "other")
    assert (copy / "diary.txt").read_text() == "mine" and (tmp_path / "other" / METADATA).exists()
    (copy / "diary.txt").unlink()
    (copy / "head.onnx").unlink()
    export_pack(recognizer, copy)
    assert (copy / "head.onnx").exists()


def test_a_calibration_of_other_weights_is_not_taken_over(recognizer, tmp_path):
    path = recognizer.folder / "confidence.json"
    path.write_text(json.dumps({"state_sha256": "0" * 64, "depths": {}, "about": {}}))
    try:
        with pytest.raises(DldError, match="confidence.json: fitted for other weights"):
            export_pack(recognizer, tmp_path / "pack")
    finally:
        path.unlink()
    assert os.listdir(tmp_path) == []
