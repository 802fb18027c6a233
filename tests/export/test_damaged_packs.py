"""What is wrong with a pack is said in one line, before anything of it runs."""

import hashlib
import json
import os
import shutil

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
        ({"sample_rate": 0}, "must be positive"),
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


@pytest.mark.parametrize("content", [b"not a graph", b"", b"\n\x08location\x12\x0b/etc/passwd"])
def test_a_graph_that_is_none(copy, files, content):
    (copy / "head.onnx").write_bytes(content)
    metadata = json.loads((copy / METADATA).read_text())
    metadata["files"]["head.onnx"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(copy, files=metadata["files"])
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
