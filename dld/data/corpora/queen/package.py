"""Get the game's file: a local one, or that of the Debian package, which is fetched."""

import gzip
import io
import logging
import lzma
import re
import shutil
import subprocess
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from dld.data.corpora.queen import archive
from dld.data.download import fetch
from dld.errors import DldError
from dld.files import atomic_write, sha256

logger = logging.getLogger(__name__)

PACKAGE = "flight-of-the-amazon-queen"
PACKAGE_URL = f"https://deb.debian.org/debian/pool/main/f/{PACKAGE}/{PACKAGE}_1.0.0-9_all.deb"
PACKAGE_SHA256 = "40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1"

_AR_MAGIC = b"!<arch>\n"


def obtain(corpus: str | Path | None, folder: str | Path) -> tuple[Path, list[Path]]:
    """Get `queen.1c` and the notices that come with it.

    Parameters
    ----------
    corpus : str or Path, optional
        A local `queen.1c`, or the Debian package. By default the package is fetched, with `apt-get download` or else
        over HTTP, and unpacked; it is not installed, and no root is needed.
    folder : str or Path
        Receives what is unpacked; a file there with the right checksum is used again.

    Returns
    -------
    path : Path
        The file.
    notices : list of Path
        Licence and read-me files found with it.

    Raises
    ------
    DldError
        The file is missing, cannot be fetched, or does not have the expected checksum.
    """
    folder = Path(folder)
    target = folder / archive.CORPUS
    if corpus is not None and not str(corpus).endswith(".deb"):
        return Path(corpus), _notices(Path(corpus).parent)
    if corpus is not None:
        unpack_package(corpus, folder)
    elif not target.exists() or sha256(target) != archive.CORPUS_SHA256:
        package = _fetch_package(folder)
        unpack_package(package, folder)
        package.unlink()
        if sha256(target) != archive.CORPUS_SHA256:
            raise DldError(
                f"{target}: not the file that is known (SHA-256 {archive.CORPUS_SHA256}); give one with --corpus"
            )
    return target, _notices(folder)


def _notices(folder):
    names = re.compile(r"(readme|copyright|licen[cs]e)(\.(txt|md))?", re.IGNORECASE)
    return sorted(path for path in folder.iterdir() if path.is_file() and names.fullmatch(path.name))


def _fetch_package(folder):
    """Fetch the Debian package into a folder, over HTTP where apt cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.which("apt-get"):
        done = subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, capture_output=True, text=True)
        found = list(folder.glob("*.deb"))
        if done.returncode == 0 and found:
            return found[0]
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        logger.warning("apt-get download %s: %s; trying %s", PACKAGE, reason, PACKAGE_URL)
    return fetch(PACKAGE_URL, folder / f"{PACKAGE}.deb", PACKAGE_SHA256)


def unpack_package(package: str | Path, folder: str | Path) -> None:
    """Take `queen.1c` and the notices out of a Debian package.

    A package is an `ar` archive, one of whose members is the tar file of the contents.

    Parameters
    ----------
    package, folder : str or Path
    """
    folder = Path(folder)
    wanted = {archive.CORPUS, "copyright", "readme.txt.gz"}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_package_contents(Path(package)))) as contents:
            for member in contents:
                name = PurePosixPath(member.name).name
                # Nothing is written but these names, wherever in the archive they are.
                stream = contents.extractfile(member) if member.isfile() and name in wanted - found.keys() else None
                if stream is not None:
                    data = stream.read()
                    found[name] = gzip.decompress(data) if name.endswith(".gz") else data
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DldError(f"{package}: its contents cannot be unpacked: {error}; get the package again") from None
    for name, data in found.items():
        with atomic_write(folder / name.removesuffix(".gz"), "wb") as out:
            out.write(data)
    if archive.CORPUS not in found:
        raise DldError(f"{package}: {archive.CORPUS} is not in this package; it should be {PACKAGE}")


def _package_contents(package):
    try:
        content = package.read_bytes()
    except OSError as error:
        raise DldError(f"{package}: {error.strerror}") from None
    position = len(_AR_MAGIC)
    while content.startswith(_AR_MAGIC) and position + 60 <= len(content):
        name, size = content[position : position + 16].decode("latin-1").strip(" /"), content[position + 48 :][:10]
        start = position + 60
        if not size.strip().isdigit():
            break
        end = start + int(size)
        if name.startswith("data.tar") and end <= len(content):
            if name.endswith(".zst"):
                raise DldError(f"{package}: unpack it with `dpkg-deb -x` and give {archive.CORPUS} with --corpus")
            return content[start:end]
        position = end + end % 2
    raise DldError(f"{package}: not a whole Debian package; get it again")
