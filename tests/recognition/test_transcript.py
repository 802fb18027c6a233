"""The formats of a transcript."""

import itertools
import json
import re

import pytest

from dld.errors import DldError
from dld.recognition.transcript import CHARACTERS, SECONDS, Transcript, Word, subtitles


def spoken(text, start=0.0, duration=0.3, gap=0.1):
    """Words of equal duration, one after the other."""
    step = duration + gap
    return [
        Word(word, round(start + n * step, 3), round(start + n * step + duration, 3), 0.5)
        for n, word in enumerate(text.split())
    ]


def test_json_holds_what_there_is():
    assert Transcript("one").to_json() == {"text": "one"}
    whole = Transcript("one", spoken("one"), False, [30.0])
    content = json.loads(json.dumps(whole.to_json()))
    assert content["words"] == [{"text": "one", "start": 0.0, "end": 0.3, "confidence": 0.5}]
    assert Transcript.from_json(content, "here") == whole


def test_ctm_has_a_line_for_each_word():
    lines = Transcript("one two", spoken("one two", 3661.5), True).to_ctm("my talk", 2).splitlines()
    assert lines == ["my_talk 2 3661.500 0.300 one 0.500", "my_talk 2 3661.900 0.300 two 0.500"]


def test_times_of_subtitles_are_written_as_the_formats_ask():
    transcript = Transcript("one", [Word("one", 3661.5, 3662.0996, 0.5)], True)
    assert transcript.to_srt() == "1\n01:01:01,500 --> 01:01:02,100\none\n"
    assert transcript.to_vtt() == "WEBVTT\n\n01:01:01.500 --> 01:01:02.100\none\n"


def test_vtt_escapes_what_it_has_a_meaning_for():
    assert "a&lt;b&gt; &amp;c" in Transcript("", spoken("a<b> &c"), True).to_vtt()


def test_a_pause_ends_a_subtitle():
    words = [*spoken("one two"), *spoken("three", 5.0)]
    assert [[word.text for word in cue] for cue in subtitles(words)] == [["one", "two"], ["three"]]


def test_long_speech_is_cut_where_the_silence_is_longest():
    words = spoken("word " * 100)
    cues = subtitles(words)
    assert list(itertools.chain(*cues)) == words
    for cue in cues:
        assert len(" ".join(word.text for word in cue)) <= CHARACTERS
        assert cue[-1].end - cue[0].start <= SECONDS
    # A longer silence in the second half of the first subtitle takes the cut.
    moved = words[:12] + spoken("word " * 88, start=words[11].end + 0.5)
    assert len(subtitles(moved)[0]) == 12


def test_two_lines_of_similar_length():
    text = "here are some words which do not fit on one line of subtitles"
    [first, second] = Transcript(text, spoken(text, gap=0.0), True).to_srt().splitlines()[2:]
    assert f"{first} {second}" == text and max(len(first), len(second)) <= 42


def test_one_word_longer_than_a_subtitle_is_one_subtitle():
    long = "x" * (CHARACTERS + 10)
    words = [Word(long, 0.0, 9.0, 0.5), Word("y", 9.1, 9.2, 0.5), Word(long, 9.3, 30.0, 0.5)]
    assert [word for cue in subtitles(words) for word in cue] == words


@pytest.mark.parametrize("name", ["to_srt", "to_vtt"])
def test_no_words_is_an_empty_file_of_the_format(name):
    text = getattr(Transcript("", [], True), name)()
    assert re.fullmatch(r"(WEBVTT\n)?", text)


def test_without_times_there_are_no_subtitles():
    for write in (Transcript("one").to_srt, Transcript("one").to_vtt, lambda: Transcript("one").to_ctm("a")):
        with pytest.raises(DldError, match="no times; transcribe with times=True"):
            write()
