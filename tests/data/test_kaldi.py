"""Kaldi data directories: what is written is read back, faults name file and line, what is fixed is valid."""

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace

import kaldiio
import numpy as np
import pytest
import soundfile

from dld.bin.data import main
from dld.data import kaldi
from dld.data.audio import read_audio
from dld.data.kaldi import Utterance
from dld.errors import DldError


def edit(path, old, new):
    """Replace text that must be in a file."""
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_written_directory_has_kaldis_files(folder):
    assert contents(folder).keys() == {"wav.scp", "text", "utt2spk", "spk2utt", "utt2dur", "spk2gender"}
    assert (folder / "text").read_text().startswith("anna-1 one two three\nanna-2 four\n")
    assert (folder / "spk2utt").read_text() == "anna anna-1 anna-2\nbert bert-1 bert-2\ncarl carl-1 carl-2\n"
    assert (folder / "utt2dur").read_text().splitlines()[:2] == ["anna-1 1", "anna-2 1.1"]
    assert kaldi.validate(folder) == []


def test_what_is_written_is_read_back(folder, tmp_path):
    utterances = kaldi.load(folder)
    assert [u.id for u in utterances] == sorted(u.id for u in utterances)
    assert (utterances[0].text, utterances[0].speaker, utterances[0].gender) == ("one two three", "anna", "f")
    assert utterances[0].start == 0 and utterances[0].end is None and utterances[0].duration == 1.0
    kaldi.write(tmp_path / "again", reversed(utterances))
    assert contents(tmp_path / "again") == contents(folder)


def test_segments_are_read_back(talks, tmp_path):
    assert (talks / "segments").read_text().splitlines()[0] == "talk1-0 talk1 0.25 1.5"
    utterances = kaldi.load(talks)
    assert [(u.start, u.end, u.duration) for u in utterances][-1] == (0.5, 1.625, 1.125)
    kaldi.write(tmp_path / "again", utterances)
    assert contents(tmp_path / "again") == contents(talks)
    assert kaldi.validate(talks) == []


def test_exact_times_survive(tmp_path):
    times = (12.340000000000003, 1234.5678901)
    kaldi.write(tmp_path / "d", [Utterance("a", "a", "x", "a.wav", *times, recording_id="r")])
    again = kaldi.load(tmp_path / "d")[0]
    assert (again.start, again.end) == times


def test_rewriting_removes_files_no_longer_needed(talks, folder):
    kaldi.write(talks, kaldi.load(folder))
    assert not (talks / "segments").exists()
    assert kaldi.validate(talks) == []


def test_sorting_is_that_of_bytes(tmp_path):
    keys = ["a", "Z", "é", "\U0001f600", "\uffee", "-"]
    kaldi.write(tmp_path / "d", [Utterance(key, key, "x", f"{key}.wav", duration=1.0) for key in keys])
    lines = (tmp_path / "d/text").read_bytes().splitlines()
    assert lines == sorted(lines)
    (tmp_path / "lines").write_bytes((tmp_path / "d/text").read_bytes())
    done = subprocess.run(["sort", "-c", "lines"], cwd=tmp_path, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "anna-1"}, "two utterances have the id anna-1"),
        ({"id": "with space"}, "'with space'"),
        ({"speaker": ""}, "speaker ''"),
        ({"text": "two\nlines"}, "line break in its text"),
        ({"text": None}, "1 utterances have no text"),
        ({"recording_id": "anna-1", "start": 0.5}, "recording id anna-1 means"),
        ({"recording": "gone.wav", "duration": None}, "gone.wav: no such audio file"),
    ],
)
def test_write_refuses_what_tables_cannot_hold(folder, tmp_path, change, message):
    utterances = kaldi.load(folder)
    entry = {"id": "new", "speaker": "s", "text": "x", "recording": "other.wav", "duration": 1.0} | change
    with pytest.raises(DldError, match=message):
        kaldi.write(tmp_path / "new", [*utterances, Utterance(**entry)])
    assert not (tmp_path / "new").exists()
    with pytest.raises(DldError, match="no utterances"):
        kaldi.write(tmp_path / "new", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a one\nb two\na three\n", "text:3: a is also in line 1"),
        (b"a one\n\nb two\n", "text:2: the line is empty"),
        (b"a one\n b two\n", "text:2: .*begins with a space"),
        (b"a one\nb \xff\n", "text:2: not UTF-8"),
    ],
)
def test_read_table_names_the_line(tmp_path, content, message):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(DldError, match=message):
        kaldi.read_table(path)


def test_read_table_counts_columns(tmp_path):
    path = tmp_path / "table"
    path.write_text("a x\nb\ty  z\n")
    assert kaldi.read_table(path) == {"a": "x", "b": "y  z"}
    with pytest.raises(DldError, match="table:2: b has 2 fields after it, expected 1"):
        kaldi.read_table(path, columns=1)


def test_load_says_what_is_missing(folder):
    with pytest.raises(DldError, match="elsewhere: no such folder"):
        kaldi.load(folder / "elsewhere")
    (folder / "utt2dur").unlink()
    with pytest.raises(DldError, match=r"utt2dur: no such file; run `dld data fix"):
        kaldi.load(folder)
    (folder / "text").unlink()
    assert kaldi.load(folder, need=("wav.scp",))[0].text is None


def test_load_refuses_ids_that_disagree(folder):
    edit(folder / "text", "bert-1 ", "bert-9 ")
    with pytest.raises(DldError, match=r"text: 1 ids of utt2spk are missing and 1 .*bert-1.*bert-9"):
        kaldi.load(folder)


FAULTS = [
    ("text", "anna-2 four\n", "", r"utt2spk:2: anna-2 is not in text"),
    ("text", "anna-2 four", "anna-2", r"text:2: anna-2 has an empty text"),
    ("text", "four", "fo\x07ur", r"text:2: anna-2 has the control character U\+0007"),
    ("text", "five five", "five\u00a0five", r"text:3: bert-1 has the whitespace U\+00A0"),
    ("text", "four", "<s> four", r"text:2: anna-2 has the reserved word <s>"),
    ("text", "anna-1 one two three\nanna-2 four\n", "anna-2 four\nanna-1 one\n", r"text:2: anna-1 comes after anna-2"),
    ("text", "anna-2 four\n", "anna-2 four\nanna-2 four\n", r"text:3: anna-2 is also in line 2"),
    ("utt2spk", "anna-2 anna", "anna-2 bert", r"spk2utt:1: anna-2 is listed for anna, but utt2spk has bert"),
    ("spk2utt", "anna anna-1 anna-2", "anna anna-1", r"utt2spk:2: anna-2 is not listed for anna in spk2utt"),
    ("spk2utt", "anna-2", "anna-2 anna-2", r"spk2utt:1: anna-2 is listed twice"),
    ("utt2spk", "carl-2 carl", "carl-2 carl x", r"utt2spk:6: carl-2 has 2 fields after it, expected 1"),
    ("utt2dur", "anna-2 1.1", "anna-2 1.2", r"utt2dur:2: anna-2 is noted with 1.2 s, its audio is 1.100 s long"),
    ("utt2dur", "anna-2 1.1", "anna-2 0", r"utt2dur:2: anna-2 has the duration 0; it must be a positive number"),
    ("utt2dur", "anna-2 1.1", "anna-2 nan", r"utt2dur:2: anna-2 has the duration nan"),
    ("wav.scp", "anna-2.wav", "gone.wav", r"wav.scp:2: anna-2: .*gone.wav: no such audio file"),
    ("spk2gender", "anna f", "anna x", r"spk2gender:1: anna has the gender x"),
    ("spk2gender", "anna f\n", "", r"spk2utt:1: anna is not in spk2gender"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), FAULTS)
def test_validate_tells_each_fault_with_its_place(folder, name, old, new, message):
    edit(folder / name, old, new)
    problems = kaldi.validate(folder)
    assert any(re.search(message, problem) for problem in problems), problems
    # The rest of the directory is fine, so only the fault is reported.
    assert len(problems) <= 2


SEGMENT_FAULTS = [
    ("talk1 0.25 1.5", "talk1 1.5 1.5", r"segments:1: talk1-0 starts at 1.5 s and ends at 1.5 s"),
    ("talk1 0.25 1.5", "talk1 -0.25 1.5", r"segments:1: talk1-0 starts at -0.25 s"),
    ("talk1 0.25 1.5", "talk1 zero 1.5", r"segments:1: talk1-0 has times that are not numbers"),
    ("talk1 3 4", "talk1 3.06 4.06", r"segments:3: talk1-2 runs from 3.06 s to 4.06 s, but talk1 is 4.000 s long"),
    ("talk1 1.5 2.75", "talk1 1.5 2.5", r"utt2dur:2: talk1-1 is noted with 1.25 s, its audio is 1.000 s long"),
    ("talk2 0.5 1.625", "talk1 0.5 1.625", r"wav.scp:2: no segment is of talk2"),
    ("talk2 0.5 1.625", "talk3 0.5 1.625", r"segments:4: talk2-3 is of talk3, which is not in wav.scp"),
]


@pytest.mark.parametrize(("old", "new", "message"), SEGMENT_FAULTS)
def test_validate_checks_segments(talks, old, new, message):
    edit(talks / "segments", old, new)
    problems = kaldi.validate(talks)
    assert any(re.search(message, problem) for problem in problems), problems
    assert len(problems) <= 2


def test_validate_tolerates_rounding_and_the_end_minus_one(talks):
    edit(talks / "segments", "talk1 3 4", "talk1 3.04 4.04")
    edit(talks / "segments", "talk2 0.5 1.625", "talk2 0.875 -1")
    assert kaldi.validate(talks) == []
    assert kaldi.load(talks)[-1].end is None


def test_validate_without_audio_uses_reco2dur(talks):
    edit(talks / "segments", "talk1 3 4", "talk1 4.5 5.5")
    assert kaldi.validate(talks, audio=False) == []
    (talks / "reco2dur").write_text("talk1 4\ntalk2 2\n")
    assert "talk1 is 4.000 s long" in kaldi.validate(talks, audio=False)[0]


def test_validate_missing_files_and_empty_audio(folder):
    (folder / "spk2utt").unlink()
    (folder / "text").unlink()
    soundfile.write(folder.parent / "wav/carl-1.wav", [], 16000)
    problems = "\n".join(kaldi.validate(folder))
    assert "spk2utt: no such file; `dld data fix" in problems
    assert "text: no such file" in problems
    assert "wav.scp:5: carl-1:" in problems and "zero length" in problems
    assert "text: no such file" not in "\n".join(kaldi.validate(folder, text=False))


def test_validate_limits_what_it_tells_of_each_kind(folder):
    lines = (folder / "text").read_text().splitlines()
    (folder / "text").write_text("".join(line.split()[0] + "\n" for line in lines))
    assert len(kaldi.validate(folder)) == 6
    problems = kaldi.validate(folder, per_kind=2)
    assert len(problems) == 3 and "4 more problems of this kind (empty text)" in problems[2]


def test_speaker_prefix_is_only_a_warning(folder, caplog):
    for name in ("utt2spk", "spk2utt", "spk2gender"):
        (folder / name).write_text((folder / name).read_text().replace("anna ", "zoe ").replace(" anna\n", " zoe\n"))
    kaldi.fix(folder)
    with caplog.at_level(logging.WARNING):
        assert kaldi.validate(folder) == []
    assert "2 utterance ids do not begin with their speaker (first: anna-1 of zoe)" in caplog.text


def test_fix_makes_a_broken_directory_valid(folder):
    before = contents(folder)
    edit(folder / "text", "anna-1 one two three\nanna-2 four\n", "anna-2 four\nanna-1 one\u00a0two three\n")
    edit(folder / "text", "carl-1 two", "carl-1")
    edit(folder / "utt2spk", "bert-2 bert\n", "bert-2 bert\nbert-2 bert\n")
    edit(folder / "wav.scp", "bert-1.wav", "gone.wav")
    (folder / "spk2utt").unlink()
    (folder / "utt2dur").unlink()
    broken = contents(folder)
    report = kaldi.fix(folder)
    assert kaldi.validate(folder) == []
    assert report.removed == {"empty text": ["carl-1"], "its audio cannot be read": ["bert-1"]}
    assert report.kept == 4 and [u.id for u in kaldi.load(folder)] == ["anna-1", "anna-2", "bert-2", "carl-2"]
    assert "bert-2 again, with the same value" in report.repeated[0]
    assert "kept 4 of 6 utterances" in str(report)
    assert kaldi.load(folder)[0].text == "one two three"
    assert contents(folder / ".backup") == broken
    assert (folder / "utt2dur").read_text().splitlines()[0] == before["utt2dur"].splitlines()[0]


def test_fix_changes_nothing_in_a_valid_directory(folder, talks):
    for directory in (folder, talks):
        before = contents(directory)
        assert kaldi.fix(directory).removed == {}
        assert contents(directory) == before
        assert kaldi.fix(directory, audio=False).removed == {}
        assert contents(directory) == before


def test_fix_of_segments(talks):
    edit(talks / "segments", "talk1 3 4", "talk1 3.5 4.5")
    edit(talks / "segments", "talk1 1.5 2.75", "talk1 1.5 1.25")
    (talks / "reco2dur").write_text("talk1 4\ntalk2 2\n")
    report = kaldi.fix(talks)
    assert report.removed == {
        "its segment is not inside its recording": ["talk1-2"],
        "malformed line in segments (times)": ["talk1-1"],
    }
    assert (talks / "reco2dur").read_text() == "talk1 4\ntalk2 2\n"
    assert kaldi.validate(talks) == []


def test_fix_refuses_to_empty_a_directory(folder):
    (folder / "wav.scp").write_text("".join(f"{u.id} gone/{u.id}.wav\n" for u in kaldi.load(folder)))
    before = contents(folder)
    with pytest.raises(DldError, match="no utterance would be left, so nothing was changed.*6: its audio"):
        kaldi.fix(folder)
    assert contents(folder) == before and not (folder / ".backup").exists()


def test_stats_count_what_is_there(folder):
    found = kaldi.stats(folder)
    assert (found["utterances"], found["speakers"], found["recordings"]) == (6, 3, 6)
    assert (found["words"], found["vocabulary"], found["characters"]) == (15, 10, 57)
    assert found["hours"] == pytest.approx(7.5 / 3600, abs=1e-4)
    assert found["duration"] == {"min": 1.0, "median": 1.25, "mean": 1.25, "max": 1.5}
    assert found["words_per_second"] == 2.0
    assert found["speakers_by_gender"] == {"f": 1, "m": 2}


def test_subset_and_combine_divide_and_restore(folder, tmp_path):
    kaldi.subset(folder, tmp_path / "first", first=2)
    kaldi.subset(folder, tmp_path / "rest", ids=["bert-1", "bert-2", "carl-1", "carl-2"])
    kaldi.combine(tmp_path / "both", [tmp_path / "rest", tmp_path / "first"])
    assert contents(tmp_path / "both") == contents(folder)
    assert [u.id for u in kaldi.subset(folder, tmp_path / "n", number=3)] == ["anna-1", "bert-1", "carl-1"]
    assert {u.speaker for u in kaldi.subset(folder, tmp_path / "s", speakers=2)} == {"anna", "bert"}
    assert [u.duration for u in kaldi.subset(folder, tmp_path / "k", shortest=2)] == [1.0, 1.1]
    with pytest.raises(DldError, match="7 utterances requested, there are 6"):
        kaldi.subset(folder, tmp_path / "m", number=7)
    with pytest.raises(DldError, match=r"1 of the ids.*\(first: dora-1\)"):
        kaldi.subset(folder, tmp_path / "m", ids=["dora-1", "anna-1"])
    with pytest.raises(DldError, match="utterance anna-1 is in .* and in"):
        kaldi.combine(tmp_path / "m", [folder, tmp_path / "first"])
    with pytest.raises(DldError, match="is source and destination"):
        kaldi.combine(folder, [folder])
    assert not (tmp_path / "m").exists()


def test_command_line(folder, tmp_path, capsys):
    assert main(["validate", str(folder)]) == 0
    assert main(["stats", str(folder)]) == 0
    assert "utterances" in capsys.readouterr().out
    assert main(["stats", "--json", "true", str(folder), str(folder)]) == 0
    assert [entry["words"] for entry in json.loads(capsys.readouterr().out)] == [15, 15]
    assert main(["subset", "--number", "2", str(folder), str(tmp_path / "two")]) == 0
    assert main(["combine", str(tmp_path / "all"), str(tmp_path / "two")]) == 0
    edit(folder / "text", "four", "")
    capsys.readouterr()
    assert main(["validate", str(folder), str(tmp_path / "two")]) == 1
    said = capsys.readouterr()
    assert "text:2: anna-2 has an empty text" in said.err and "1 of 2 directories not valid" in said.err
    assert main(["fix", str(folder)]) == 0
    assert "kept 5 of 6" in capsys.readouterr().out
    assert main(["validate", str(folder)]) == 0


def test_command_line_error_is_one_line(root, tmp_path):
    command = [sys.executable, "-m", "dld.bin.data", "stats", str(tmp_path / "gone")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "error: " in done.stderr and "gone: no such folder" in done.stderr


def test_librispeech_directory(shared, tmp_path):
    utterances = []
    for path in sorted((shared / "corpora/LibriSpeech/test-clean").rglob("*.trans.txt")):
        for key, text in kaldi.read_text(path).items():
            utterances.append(Utterance(key, key.split("-")[0], text, str(path.parent / f"{key}.flac")))
    kaldi.write(tmp_path / "d", utterances)
    assert kaldi.validate(tmp_path / "d") == []
    assert kaldi.stats(tmp_path / "d")["utterances"] == 4


# ---------------------------------------------------------------- archives


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
def test_an_archive_holds_the_same_samples(folder, tmp_path, capsys, audio_format):
    assert main(["archive", str(folder), str(tmp_path / "out"), "--format", audio_format]) == 0
    assert "6 utterances" in capsys.readouterr().out
    assert kaldi.validate(tmp_path / "out", decode=True) == []
    for before, after in zip(kaldi.load(folder), kaldi.load(tmp_path / "out"), strict=True):
        assert after == replace(before, recording=after.recording)
        assert after.recording.startswith(f"{tmp_path}/out/audio.ark:")
        assert np.array_equal(read_audio(after.recording), read_audio(before.recording))
        rate, samples = kaldiio.load_mat(after.recording)
        assert rate == 16000 and len(samples) == round(before.duration * 16000)


def test_segments_stay_parts_of_their_recordings_in_an_archive(talks, tmp_path):
    kaldi.archive(talks, tmp_path / "out")
    assert (tmp_path / "out/segments").read_bytes() == (talks / "segments").read_bytes()
    assert len((tmp_path / "out/wav.scp").read_text().splitlines()) == 2
    for before, after in zip(kaldi.load(talks), kaldi.load(tmp_path / "out"), strict=True):
        parts = (read_audio(u.recording, u.start, u.end) for u in (before, after))
        assert np.array_equal(*parts)


def test_more_than_16_bits_and_channels_are_kept(tmp_path):
    samples = np.random.default_rng(1).integers(-(2**23), 2**23, (4000, 2)) / 2**23
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="PCM_24")
    kaldi.write(tmp_path / "in", [Utterance("a-1", "a", "one", str(tmp_path / "a.wav"))])
    [utterance] = kaldi.archive(tmp_path / "in", tmp_path / "out")
    for channel in (0, 1):
        assert np.array_equal(read_audio(utterance.recording, sample_rate=22050, channel=channel), samples[:, channel])
    with pytest.raises(DldError, match="more than 16 bits"):
        kaldi.archive(tmp_path / "in", tmp_path / "wav", "wav")
    assert list((tmp_path / "wav").iterdir()) == []


def test_an_archive_of_a_damaged_recording_is_not_written(folder, tmp_path, capsys):
    path = tmp_path / "wav/bert-2.wav"
    path.write_bytes(path.read_bytes()[:-100])
    assert main(["archive", str(folder), str(tmp_path / "out")]) == 1
    assert "bert-2.wav (recording bert-2): audio is cut short" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
    assert main(["archive", str(folder), str(folder)]) == 1
