"""A corpus whose audio is made here: staged, published whole, and kept as long as nothing of it has changed."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from dld.data import kaldi
from dld.data.corpora.settings import SETS
from dld.files import atomic_write, read_json, read_lines, sha256, write_json


@dataclass(frozen=True)
class Made:
    """A corpus that is made in a folder.

    In the end there are a Kaldi data directory for each set, their audio under `audio`, the manifest `NAME.tsv` and,
    last of all, the stamp `NAME.json`, without which the corpus counts as unfinished.

    Parameters
    ----------
    folder : Path
        Absolute.
    name : str
        File name of stamp and manifest.
    audio_of : callable
        Takes a row of the manifest, a dict of str, and returns its file relative to `folder / "audio"`; None where
        the row has no audio. The column `bytes` is the file's size.
    sets : tuple of str
        Those of train, dev and test that are wanted; more may be there.
    """

    folder: Path
    name: str
    audio_of: Callable[[dict], Path | None]
    sets: tuple[str, ...] = SETS

    @property
    def stamp(self) -> Path:
        """Return the path of the stamp."""
        return self.folder / f"{self.name}.json"

    @property
    def manifest(self) -> Path:
        """Return the path of the manifest."""
        return self.folder / f"{self.name}.tsv"

    def outdated(self, identity: dict, needed: tuple[str, ...] = ()) -> str:
        """Say why the corpus that is there cannot be kept; return "" where it can.

        Parameters
        ----------
        identity : dict
            What the stamp must hold.
        needed : tuple of str
            Other keys of the stamp.
        """
        if not self.stamp.exists():
            return "unfinished" if (self.folder / "audio").exists() else "not there yet"
        found = read_json(self.stamp)
        if not isinstance(found, dict) or not {"files", *needed} <= found.keys():
            return f"{self.stamp} is damaged"
        for key, value in identity.items():
            if found.get(key) != value:
                return f"made with other settings ({key} was {found.get(key)})"
        there = self._sets_of(found)
        if missing := [split for split in self.sets if split not in there]:
            return f"made without {' and '.join(missing)}"
        for path in self._tables(there):
            if not path.exists():
                return f"{path} is missing"
            if sha256(path) != found["files"].get(str(path.relative_to(self.folder))):
                return f"{path} has changed"
        for path, size in self._sizes():
            if not path.exists():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} has changed"
        return ""

    def with_present(self, identity: dict) -> "Made":
        """Return this corpus with the sets, too, that are there already with the same settings."""
        found = read_json(self.stamp) if self.stamp.exists() else None
        same = isinstance(found, dict) and all(found.get(key) == value for key, value in identity.items())
        there = self._sets_of(found) if same else ()
        return replace(self, sets=tuple(split for split in SETS if split in {*self.sets, *there}))

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """Yield a new folder that will be `audio`, with a folder for each split; it is removed if making it fails."""
        staging = self.folder / f".{self.name}.partial"
        self.stamp.unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        try:
            for split in self.sets:
                (staging / split).mkdir(parents=True)
            yield staging
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise

    def publish(self, staging: Path, utterances: dict[str, list], rows: Iterable[dict]) -> None:
        """Move the audio to its folder and write data directories and manifest; nothing of an older corpus stays.

        Parameters
        ----------
        staging : Path
            What `staged` yielded.
        utterances : dict of str to list of kaldi.Utterance
            Utterances of each split.
        rows : iterable of dict
            Rows of the manifest, all with the same keys.
        """
        for folder in ("audio", *SETS):
            shutil.rmtree(self.folder / folder, ignore_errors=True)
        os.replace(staging, self.folder / "audio")
        for split in self.sets:
            kaldi.write(self.folder / split, utterances[split])
        rows = list(rows)
        with atomic_write(self.manifest) as table:
            table.write("\t".join(rows[0]) + "\n")
            table.writelines("\t".join(map(str, row.values())) + "\n" for row in rows)

    def finish(self, contents: dict) -> None:
        """Write the stamp: `contents`, and the SHA-256 of the tables."""
        files = {str(path.relative_to(self.folder)): sha256(path) for path in self._tables(self.sets)}
        write_json(self.stamp, {**contents, "files": files})

    def _sets_of(self, stamp):
        return {Path(name).parts[0] for name in stamp["files"]} & set(SETS)

    def _tables(self, sets):
        names = ("wav.scp", "text", "utt2spk")
        return [self.manifest, *(self.folder / split / name for split in SETS if split in sets for name in names)]

    def _sizes(self):
        lines = (line.split("\t") for _, line in read_lines(self.manifest))
        columns = next(lines)
        for line in lines:
            row = dict(zip(columns, line, strict=True))
            audio = self.audio_of(row)
            if audio is not None:
                yield self.folder / "audio" / audio, int(row["bytes"])


def in_parallel(jobs: int | None, title: str, unit: str, function: Callable, *columns: list) -> list:
    """Return the results of a function over lists, several at a time, with a progress bar.

    Parameters
    ----------
    jobs : int or None
        Calls at a time; None: the number of processors.
    title, unit : str
        Texts of the progress bar.
    function : callable
        Takes an entry of each of the columns.
    """
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        try:
            return list(tqdm(pool.map(function, *columns), title, len(columns[0]), unit=unit, disable=None))
        except BaseException:
            # Do not wait for calls that have not begun.
            pool.shutdown(cancel_futures=True)
            raise


def counts_of(splits: dict[str, dict]) -> dict[str, dict]:
    """Return the counts of a stamp for the table that users see: minutes, as such a corpus is small."""
    return {
        split: {
            ("minutes" if name == "seconds" else name): (v / 60 if name == "seconds" else v) for name, v in row.items()
        }
        for split, row in splits.items()
    }


def said(folder: str | Path, reason: str) -> str:
    """Return the line that says whether the corpus was made, and why."""
    return f"{folder}: " + (f"made the corpus ({reason})" if reason else "kept the complete corpus")
