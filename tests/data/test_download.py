"""Downloads from a server of our own that breaks off, refuses, or sends something else."""

import hashlib
import http.server
import io
import subprocess
import tarfile
import threading
import types

import pytest

from dld.data import download
from dld.errors import DldError

CONTENT = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Sends CONTENT; how, the path says."""

    begins = []

    def do_GET(self):
        begin = 0
        if "Range" in self.headers and self.path != "/no-ranges":
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        Server.begins.append(begin)
        if self.path == "/absent":
            self.send_error(404)
            return
        if self.path == "/busy":
            self.send_error(503)
            return
        if begin >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        part = CONTENT[begin:]
        self.wfile.write(part[:300_000] if self.path == "/breaks" else part)

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    """Where the server listens."""
    Server.begins = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def fetch(url, path, digest=DIGEST):
    return download.fetch(url, path, digest, pause=0, progress=False)


def test_a_file_is_downloaded_once(address, tmp_path):
    path = tmp_path / "a.tgz"
    assert fetch(f"{address}/whole", path).read_bytes() == CONTENT
    assert fetch(f"{address}/whole", path) == path
    assert Server.begins == [0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_connection_is_taken_up_where_it_broke(address, tmp_path):
    assert fetch(f"{address}/breaks", tmp_path / "a.tgz").read_bytes() == CONTENT
    assert Server.begins == [0, 300_000, 600_000, 900_000]


def test_an_interrupted_command_goes_on_with_what_is_there(address, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(CONTENT[:1234])
    assert fetch(f"{address}/whole", tmp_path / "a.tgz").read_bytes() == CONTENT
    assert Server.begins == [1234]


def test_a_part_that_is_already_whole_needs_only_its_check(address, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(CONTENT)
    assert fetch(f"{address}/whole", tmp_path / "a.tgz").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it_again(address, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(b"x" * 1234)
    assert fetch(f"{address}/no-ranges", tmp_path / "a.tgz").read_bytes() == CONTENT


def test_another_file_than_expected_is_removed(address, tmp_path):
    with pytest.raises(DldError, match="not what .*/whole should hold"):
        fetch(f"{address}/whole", tmp_path / "a.tgz", digest="0" * 64)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.tgz").write_bytes(b"damaged")
    with pytest.raises(DldError, match="removed, download it again"):
        fetch(f"{address}/whole", tmp_path / "a.tgz")
    assert fetch(f"{address}/whole", tmp_path / "a.tgz").read_bytes() == CONTENT


@pytest.mark.parametrize(("name", "message", "requests"), [("absent", "404", 1), ("busy", "503", download.ATTEMPTS)])
def test_a_refusal_is_an_error_and_leaves_nothing(address, tmp_path, name, message, requests):
    with pytest.raises(DldError, match=message):
        fetch(f"{address}/{name}", tmp_path / "a.tgz")
    assert len(Server.begins) == requests
    assert not (tmp_path / "a.tgz").exists()


def test_a_full_disk_is_noticed_before_the_download(address, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=1000))
    with pytest.raises(DldError, match="GB free"):
        fetch(f"{address}/whole", tmp_path / "a.tgz")


def archive(path, **members):
    with tarfile.open(path, "w:gz") as out:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    return path


def test_unpacking_is_done_once_and_stamped_last(tmp_path):
    tar = archive(tmp_path / "a.tar.gz", Corpus__a=b"one")
    download.unpack(tar, tmp_path / "out")
    (tmp_path / "out/Corpus/a").write_bytes(b"changed by the user")
    download.unpack(tar, tmp_path / "out")
    assert (tmp_path / "out/Corpus/a").read_bytes() == b"changed by the user"


def test_a_damaged_archive_leaves_no_stamp(tmp_path):
    tar = archive(tmp_path / "a.tar.gz", Corpus__a=bytes(range(256)) * 1000)
    tar.write_bytes(tar.read_bytes()[:500])
    with pytest.raises(DldError, match="cannot be unpacked"):
        download.unpack(tar, tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*"))


def test_members_outside_the_folder_are_refused(tmp_path):
    tar = archive(tmp_path / "a.tar.gz", **{"..__evil": b"x"})
    with pytest.raises(DldError, match="cannot be unpacked"):
        download.unpack(tar, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "evil").exists()


def test_what_is_unpacked_is_neither_downloaded_nor_kept_twice(address, tmp_path, monkeypatch):
    tar = archive(tmp_path / "source.tar.gz", Corpus__a=b"one")
    content = tar.read_bytes()
    monkeypatch.setitem(globals(), "CONTENT", content)
    archives = [(f"{address}/whole.tar.gz", hashlib.sha256(content).hexdigest())]
    for _ in range(2):
        download.download_all(archives, tmp_path / "downloads")
    assert Server.begins == [0]
    assert (tmp_path / "downloads/Corpus/a").read_bytes() == b"one"
    assert not (tmp_path / "downloads/whole.tar.gz").exists()


@pytest.fixture
def repository(tmp_path):
    """A git repository with two commits; returns its folder and the hash of the first."""
    folder = tmp_path / "repository"
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        subprocess.run([*git, "add", "file"], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", text], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD~1"], check=True, capture_output=True, text=True)
    return folder, done.stdout.strip()


def test_a_repository_is_cloned_once_at_its_commit(repository, tmp_path):
    source, commit = repository
    assert download.clone(str(source), commit, tmp_path / "copy") == tmp_path / "copy"
    assert (tmp_path / "copy/file").read_text() == "first"
    assert not (tmp_path / "copy.part").exists()
    assert download.clone("nowhere", commit, tmp_path / "copy") == tmp_path / "copy"


@pytest.mark.parametrize(("address", "commit"), [("absent", "HEAD"), ("repository", "0" * 40)])
def test_what_cannot_be_cloned_is_an_error_and_does_not_look_whole(repository, tmp_path, address, commit):
    with pytest.raises(DldError, match="cannot be cloned at .*give its folder"):
        download.clone(str(tmp_path / address), commit, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_without_git_a_clone_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DldError, match="git is not installed"):
        download.clone("https://example.org/x", "HEAD", tmp_path / "copy")
