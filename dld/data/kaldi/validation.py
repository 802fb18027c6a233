"""Checks of a data directory."""

import logging
from pathlib import Path

from dld.data import audio as audio_reader
from dld.data.audio import TOLERANCE
from dld.data.kaldi.directory import measure, require_folder
from dld.data.kaldi.tables import (
    BASIC,
    SHORTEST,
    TABLES,
    file_complaints,
    has_table,
    scan,
    shown,
    text_complaint,
)
from dld.data.symbols import unicode_forms
from dld.errors import DldError

logger = logging.getLogger(__name__)


def validate(
    folder: str | Path,
    audio: bool = True,
    text: bool = True,
    per_kind: int | None = None,
    decode: bool = False,
    allow_empty: bool = False,
) -> list[str]:
    """Check a data directory by the rules of Kaldi's `validate_data_dir.sh`, and its audio too.

    Every table is sorted in C order without repeated keys; ids agree across files; `spk2utt` is the inverse of
    `utt2spk`; segments and durations fit their recordings (within `TOLERANCE` seconds); text is neither empty nor
    has control characters, odd whitespace or reserved words; audio files exist, open, are not empty and not shorter
    than their headers say; no utterance is shorter than a frame. Utterance ids that do not begin with the speaker and
    texts of which some are composed (NFC) and some decomposed (NFD) are only logged.

    Parameters
    ----------
    folder : str or Path
    audio : bool
        Open every recording (pipes are run). Without it the length of recordings comes from `reco2dur`, if there.
    text : bool
        Whether `text` must be there.
    per_kind : int, optional
        Report at most this many problems of each kind, then how many more there are.
    decode : bool
        Decode every recording to its end, and check that each segment can be read. Finds what headers do not state:
        cut FLAC and OGG files, samples that are not numbers. Takes as long as reading the corpus.
    allow_empty : bool
        Accept empty texts, as test sets may have; see `fix`.

    Returns
    -------
    list of str
        Problems as `file:line: what`; empty if all is well.
    """
    return _Validation(Path(folder), audio, text, per_kind, decode, allow_empty).run()


class _Validation:
    """One run of `validate`: the tables as read, and the problems found so far by kind."""

    def __init__(self, folder, audio, text, per_kind, decode, allow_empty):
        self.folder = folder
        self.audio = audio
        self.decode = decode
        self.allow_empty = allow_empty
        self.text = text
        self.per_kind = per_kind
        self.problems = {}
        self.tables = {}
        self.lines = {}

    def run(self):
        require_folder(self.folder)
        needed = {"wav.scp", "utt2spk", "spk2utt", "utt2dur"} | ({"text"} if self.text else set())
        for name, limits in TABLES.items():
            path = self.folder / name
            try:
                there = has_table(self.folder, name)
            except DldError as error:
                self.problems.setdefault("not a file", []).append(str(error))
                continue
            if there:
                self._read(name, limits)
            elif name in needed:
                hint = "" if name in BASIC else f"; `dld data fix {self.folder}` makes it"
                self._add("missing file", path, f"no such file{hint}")
        self._check_ids()
        self._check_speakers()
        for key, value in self.tables.get("text", {}).items():
            complaint = text_complaint(value, self.allow_empty)
            if complaint:
                self._add(complaint[0], self._at("text", key), f"{key} {complaint[1]}")
        self._check_forms()
        self._check_audio()
        return self._report()

    def _read(self, name, limits):
        path, table, lines, previous = self.folder / name, {}, {}, ""
        try:
            for number, key, value, kind, complaint in scan(path, *limits):
                if key < previous:
                    self._add(
                        f"order of {name}",
                        f"{path}:{number}",
                        f"{shown(key)} comes after {shown(previous)}; sort with LC_ALL=C",
                    )
                previous = key
                if complaint:
                    self._add(f"{kind} in {name}", f"{path}:{number}", complaint)
                if key and key not in table:
                    # A malformed value is reported once; its key is kept so that it does not count as missing too.
                    table[key] = value if complaint is None else None
                    lines[key] = number
            if not lines:
                self._add("empty file", path, "is empty")
            for kind, complaint in file_complaints(path):
                self._add(kind, path, f"{complaint}; `dld data fix {self.folder}` repairs it")
        except DldError as error:
            self.problems.setdefault("encoding", []).append(str(error))
        self.lines[name] = lines
        self.tables[name] = {key: value for key, value in table.items() if value is not None}

    def _check_ids(self):
        source = "segments" if "segments" in self.lines else "wav.scp"
        for name in (source, "text", "utt2dur"):
            self._compare("utt2spk", name)
        if source == "segments":
            used = {}
            for key, value in self.tables["segments"].items():
                recording = value.split()[0]
                used[recording] = key
                if recording not in self.lines.get("wav.scp", ()):
                    where = self._at("segments", key)
                    self._add("recording not in wav.scp", where, f"{key} is of {recording}, which is not in wav.scp")
            for recording in self.lines.get("wav.scp", {}).keys() - used.keys():
                self._add("unused recording", self._at("wav.scp", recording), f"no segment is of {recording}")
        if "reco2dur" in self.lines:
            self._compare("wav.scp", "reco2dur")
        if "spk2gender" in self.lines:
            self._compare("spk2utt", "spk2gender")

    def _compare(self, first, name):
        if first not in self.lines or name not in self.lines:
            return
        for key in sorted(self.lines[first].keys() - self.lines[name].keys()):
            self._add(f"not in {name}", self._at(first, key), f"{key} is not in {name}")
        for key in sorted(self.lines[name].keys() - self.lines[first].keys()):
            self._add(f"not in {first}", self._at(name, key), f"{key} is not in {first}")

    def _check_speakers(self):
        speakers = self.tables.get("utt2spk", {})
        astray = [key for key, speaker in speakers.items() if not key.startswith(speaker)]
        if astray:
            logger.warning(
                "%s: %d utterance ids do not begin with their speaker (first: %s of %s); Kaldi's tools want that",
                self._at("utt2spk", astray[0]), len(astray), astray[0], speakers[astray[0]],
            )  # fmt: skip
        if "spk2utt" not in self.tables or "utt2spk" not in self.tables:
            return
        listed = set()
        for speaker, ids in self.tables["spk2utt"].items():
            where = self._at("spk2utt", speaker)
            for key in ids.split():
                if speakers.get(key) != speaker:
                    what = f"utt2spk has {speakers[key]}" if key in speakers else "utt2spk has no such utterance"
                    self._add("spk2utt is not the inverse", where, f"{key} is listed for {speaker}, but {what}")
                elif key in listed:
                    self._add("spk2utt is not the inverse", where, f"{key} is listed twice")
                listed.add(key)
        for key in sorted(speakers.keys() - listed):
            where = self._at("utt2spk", key)
            self._add("spk2utt is not the inverse", where, f"{key} is not listed for {speakers[key]} in spk2utt")

    def _check_forms(self):
        decomposed, composed = unicode_forms(self.tables.get("text", {}).items())
        if decomposed and composed:
            logger.warning(
                "%s: texts mix composed and decomposed letters (NFC: %s, NFD: %s), so that one word counts as two; "
                "normalise the texts of all sets, such as with `uconv -x any-nfc text > text.nfc`",
                self._at("text", decomposed), composed, decomposed,
            )  # fmt: skip

    def _check_audio(self):
        if self.audio or self.decode:
            recordings = self.tables.get("wav.scp", {})
            lengths = self._decoded(recordings) if self.decode else measure(recordings.items())
            for recording, length in lengths.items():
                if isinstance(length, DldError):
                    self._add("audio", self._at("wav.scp", recording), f"{recording}: {length}")
            lengths = {key: length for key, length in lengths.items() if not isinstance(length, DldError)}
            for recording, value in self.tables.get("reco2dur", {}).items():
                self._check_length("reco2dur", recording, float(value), lengths.get(recording))
        else:
            lengths = {key: float(value) for key, value in self.tables.get("reco2dur", {}).items()}
        spans = dict(lengths)
        if "segments" in self.tables:
            spans = self._check_segments(lengths)
        noted = {key: float(value) for key, value in self.tables.get("utt2dur", {}).items()}
        for key, length in sorted({**noted, **spans}.items()):
            if length < SHORTEST:
                name = next(name for name in ("segments", "wav.scp", "utt2dur") if key in self.lines.get(name, ()))
                what = f"{key} is {length:g} s long, shorter than a frame ({SHORTEST:g} s)"
                self._add("too short", self._at(name, key), f"{what}; `dld data fix {self.folder}` removes it")
        for key, value in noted.items():
            self._check_length("utt2dur", key, value, spans.get(key))

    def _decoded(self, recordings):
        """Decode recordings one after the other; seconds of each, or the error."""
        spans, lengths = {}, {}
        for value in self.tables.get("segments", {}).values():
            recording, start, end = value.split()
            spans.setdefault(recording, []).append((float(start), None if float(end) == -1 else float(end)))
        for recording, source in recordings.items():
            try:
                lengths[recording] = audio_reader.decode_check(source, spans.get(recording, ()))
            except DldError as error:
                lengths[recording] = error
        return lengths

    def _check_segments(self, lengths):
        """Check segments against the lengths of recordings, and return their own lengths."""
        spans = {}
        for key, value in self.tables["segments"].items():
            recording, start, end = value.split()
            length = lengths.get(recording)
            end = length if float(end) == -1 else float(end)
            if end is None:
                continue
            # A segment with the end -1 that starts after its recording has no length; it is reported below.
            if end > float(start):
                spans[key] = end - float(start)
            if length is not None and (end > length + TOLERANCE or float(start) >= length):
                what = f"{key} runs from {start} s to {end:g} s, but {recording} is {length:.3f} s long"
                self._add("segment outside its recording", self._at("segments", key), what)
        return spans

    def _check_length(self, name, key, noted, length):
        # The small addition forgives that decimal fractions have no exact binary form.
        if length is not None and abs(noted - length) > TOLERANCE + 1e-6:
            what = f"{key} is noted with {noted:g} s, its audio is {length:.3f} s long"
            self._add(f"durations in {name}", self._at(name, key), what)

    def _at(self, name, key):
        return f"{self.folder / name}:{self.lines[name][key]}"

    def _add(self, kind, where, what):
        self.problems.setdefault(kind, []).append(f"{where}: {what}")

    def _report(self):
        lines = []
        for kind, found in self.problems.items():
            lines += found[: self.per_kind]
            if self.per_kind is not None and len(found) > self.per_kind:
                lines.append(f"{self.folder}: {len(found) - self.per_kind} more problems of this kind ({kind})")
        return lines
