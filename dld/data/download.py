"""Downloading and unpacking of corpora: resumed where it broke off, checked, and done only when all of it is there."""

import http.client
import logging
import lzma
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from dld.errors import DldError
from dld.files import atomic_write, file_hash

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Attempts without a single new byte after which a download fails."""

_CHUNK = 1 << 20
_BY_OTHER_MEANS = "get the corpus by other means and give its folder (--corpus)"


def fetch(url: str, path: str | Path, digest: str, pause: float = 5.0, progress: bool = True) -> Path:
    """Download a file, or resume from what an earlier attempt left in `<path>.part`.

    Parameters
    ----------
    url : str
    path : str or Path
        Takes its name only when its hash is right; a file that is there already is kept if it is.
    digest : str
        Hexadecimal SHA-256, or MD5 where no other is known.
    pause : float
        Seconds before another attempt.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path

    Raises
    ------
    DldError
        The server refuses, the connection breaks again and again, the disk is too small, or the file is not the
        expected one (then it is removed, so that the next attempt begins at the start).
    """
    path = Path(path)
    if path.exists():
        _check_digest(path, path, url, digest)
        return path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, before, progress):
                break
            why = "the connection ended early"
        except urllib.error.HTTPError as error:
            why = f"the server says {error.code} {error.reason}"
            if error.code < 500:
                raise DldError(f"{url}: {why}; {_BY_OTHER_MEANS}") from None
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        failures = 0 if part.exists() and part.stat().st_size > before else failures + 1
        if failures >= ATTEMPTS:
            raise DldError(f"{url}: {why} ({ATTEMPTS} attempts without progress); run the same command again to resume")
        logger.warning("%s: %s; trying again in %g s", url, why, pause)
        time.sleep(pause)
    _check_digest(part, path, url, digest)
    part.replace(path)
    return path


def unpack(archive: str | Path, folder: str | Path) -> None:
    """Unpack a tar archive; a stamp next to what is in it says that all of it is there.

    Parameters
    ----------
    archive : str or Path
    folder : str or Path
        `folder/.<archive's name>.unpacked` is the stamp.

    Raises
    ------
    DldError
        The archive is damaged, or has members that would land outside the folder.
    """
    archive, folder = Path(archive), Path(folder)
    stamp = _stamp(archive, folder)
    if stamp.exists():
        return
    if not hasattr(tarfile, "data_filter"):
        raise DldError(f"{archive}: this Python cannot unpack archives safely; take 3.10.12, 3.11.4, 3.12 or newer")
    logger.info("unpacking %s", archive)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DldError(f"{archive}: cannot be unpacked: {error}; remove it to download it again") from None
    with atomic_write(stamp) as out:
        out.write(f"{archive.name}\n")


def download_all(archives: Iterable[tuple[str, str]], folder: str | Path, keep: bool = False) -> None:
    """Download and unpack archives one after the other, each one only once.

    Parameters
    ----------
    archives : iterable of (url, SHA-256)
    folder : str or Path
    keep : bool
        Keep the archives; otherwise each is removed when it is unpacked.
    """
    for url, digest in archives:
        archive = Path(folder) / url.rpartition("/")[2]
        if _stamp(archive, Path(folder)).exists():
            continue
        fetch(url, archive, digest)
        unpack(archive, folder)
        if not keep:
            archive.unlink()


def clone(address: str, commit: str, folder: Path) -> Path:
    """Clone a git repository and check out a commit, whose hash answers for what the files hold.

    Parameters
    ----------
    address : str
    commit : str
        Hash of the commit.
    folder : Path
        Takes its name only when it is whole; one that is there already is kept.

    Returns
    -------
    Path

    Raises
    ------
    DldError
        There is no git, the server does not answer, or it does not have the commit.
    """
    if folder.exists():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    commands = ["clone", "--quiet", address, str(part)], ["-C", str(part), "checkout", "--quiet", commit]
    logger.info("cloning %s", address)
    for command in commands:
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise DldError(f"{address}: git is not installed; {_BY_OTHER_MEANS}") from None
        if done.returncode:
            why = " ".join(done.stderr.split()) or f"git ended with status {done.returncode}"
            raise DldError(f"{address}: cannot be cloned at {commit}: {why}; {_BY_OTHER_MEANS}")
    part.replace(folder)
    return folder


def _stamp(archive, folder):
    return folder / f".{archive.name}.unpacked"


def _continue(url, part, begin, progress):
    """Append to `part` what the server has after `begin` bytes; return whether that was all."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={begin}-"} if begin else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        # Nothing after our last byte: what is missing is only the check.
        if error.code == 416 and error.headers.get("Content-Range", "").endswith(f"/{begin}"):
            return True
        raise
    with response:
        # A server that does not support ranges sends the whole file.
        begin = begin if response.status == 206 else 0
        rest = response.headers.get("Content-Length")
        _check_space(part, rest)
        total = None if rest is None else begin + int(rest)
        bar = tqdm(total=total, initial=begin, unit="B", unit_scale=True, desc=part.stem, disable=not progress)
        with open(part, "ab" if begin else "wb") as out, bar:
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    return total is None or part.stat().st_size >= total


def _check_space(part, rest):
    free = shutil.disk_usage(part.parent).free
    if rest is not None and int(rest) > free:
        raise DldError(
            f"{part.parent}: {free / 1e9:.1f} GB free, {int(rest) / 1e9:.1f} GB still to download (and as much again "
            "to unpack); choose another folder"
        )


def _check_digest(there, path, url, digest):
    found = file_hash(there, "md5" if len(digest) == 32 else "sha256")
    if found != digest:
        there.unlink()
        raise DldError(f"{path}: not what {url} should hold (hash {found}, not {digest}); removed, download it again")
