"""Times that sclite needs: of the utterances of a data directory, and of the segments of an STM file."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from dld.data import audio
from dld.data.kaldi.tables import TABLES, has_table, parse_seconds, read_entries, shown
from dld.errors import DldError
from dld.files import read_lines


class Times:
    """Times of a data directory; Kaldi's end -1 becomes the end of the recording, as sclite does not read -1.

    Parameters
    ----------
    data_dir : str or Path
    """

    def __init__(self, data_dir: str | Path) -> None:
        self.folder = Path(data_dir)

    @cached_property
    def _durations(self):
        return self._table("utt2dur")

    @cached_property
    def _lengths(self):
        return self._table("reco2dur")

    @cached_property
    def _recordings(self):
        return self._table("wav.scp")

    @cached_property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """Recording id → (file name, channel), of `reco2file_and_channel` where there is one."""
        found = {}
        if has_table(self.folder, "reco2file_and_channel"):
            path = self.folder / "reco2file_and_channel"
            for number, line in read_lines(path):
                fields = line.split()
                if len(fields) != 3:
                    raise DldError(f"{path}:{number}: expected 'recording-id file-name channel', got '{shown(line)}'")
                found[fields[0]] = tuple(fields[1:])
        return found

    def utterances(self) -> dict[str, tuple[str, float, float]]:
        """Return recording, start and end of each utterance, from `segments`, or from `utt2dur` without them."""
        if not has_table(self.folder, "segments"):
            times = self._durations
            if not times:
                raise DldError(f"{self.folder / 'utt2dur'}: no such file; `dld data fix {self.folder}` makes it")
            return {key: (key, 0.0, float(seconds)) for key, seconds in times.items()}
        times = {}
        for key, value in self._table("segments").items():
            recording, start, end = value.split()
            start, end = float(start), float(end)
            if end == -1 and key in self._durations:
                end = start + float(self._durations[key])
            elif end == -1:
                end = self.recording_end(recording, f"{self.folder / 'segments'}: {key}")
            times[key] = recording, start, end
        return times

    def recording_end(self, recording: str, where: str) -> float:
        """Return the seconds of a recording: from `reco2dur`, or from its audio."""
        if recording in self._lengths:
            return float(self._lengths[recording])
        if recording in self._recordings:
            return audio.duration(self._recordings[recording])
        raise DldError(
            f"{where}: ends with {shown(recording)} (-1), whose length neither reco2dur nor wav.scp states; "
            f"run `dld data fix {self.folder}`, or write the end"
        )

    def stm_lines(self) -> Iterator[str]:
        """Yield the lines of the directory's `stm` with ends that are times.

        Raises
        ------
        DldError
            A line is not one of an STM file; the message has its number.
        """
        path = self.folder / "stm"
        recordings = {file: recording for recording, file in self.channels.items()}
        for number, line in read_lines(path):
            if line.startswith(";;") or not line.strip():
                yield line
                continue
            fields = line.split(maxsplit=5)
            begins, ends = (parse_seconds(field) for field in fields[3:5]) if len(fields) > 4 else (-1.0, 0.0)
            if not (begins >= 0 and (begins < ends or ends == -1)):
                raise DldError(f"{path}:{number}: expected 'file channel speaker start end words', got '{shown(line)}'")
            if ends == -1:
                recording = recordings.get((fields[0], fields[1]), fields[0])
                fields[4] = f"{self.recording_end(recording, f'{path}:{number}'):.3f}"
                line = " ".join(fields)
            yield line

    def _table(self, name):
        return read_entries(self.folder / name, *TABLES[name]) if has_table(self.folder, name) else {}
