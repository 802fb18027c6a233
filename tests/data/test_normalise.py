"""The table of transcripts before and after normalisation."""

import pytest

from dld.data import normalise

TEDLIUM = [
    # split contractions
    ("it 's", "it's"),
    (
        "i 'm sure they 're what we 've asked he 'd say and she 'll go",
        "i'm sure they're what we've asked he'd say and she'll go",
    ),
    ("don 't", "don't"),
    ("he 'd 've known", "he'd've known"),
    ("my brothers ' boat", "my brothers' boat"),
    ("it's already joined", "it's already joined"),
    # words that begin with an apostrophe
    ("wait 'til tomorrow", "wait 'til tomorrow"),
    ("'cause i said so", "'cause i said so"),
    ("go get 'em in the '60s", "go get 'em in the '60s"),
    ("rock 'n' roll", "rock 'n' roll"),
    ("'s where a line was cut", "'s where a line was cut"),
    # markers
    ("{NOISE} hello {BREATH} world {SMACK}", "hello world"),
    ("it {NOISE} 's here", "it's here"),
    ("[NOISE] hello", "hello"),
    ("<sil> and then", "and then"),
    ("i met <unk> there", "i met there"),
    ("my friend <unk> 's shop", "my friend shop"),
    ("<unk>", ""),
    ("{NOISE}", ""),
    # variants of pronunciation, names of utterances
    ("the(2) end", "the end"),
    ("the (2) end", "the end"),
    ("a talk about(3) it (AimeeMullins_2009P-17.82-28.81-F0_F)", "a talk about it"),
    ("end (2)", "end"),
    # numbers and spelling stay, case and spaces do not
    ("in 1989 i had 2 or 3 of 10,000", "in 1989 i had 2 or 3 of 10,000"),
    ("e-mail from u.s. co-workers", "e-mail from u.s. co-workers"),
    ("I  Think\tSo ", "i think so"),
    ("it \u2019s naïve", "it's naïve"),
    ("", ""),
]


@pytest.mark.parametrize(("before", "after"), TEDLIUM)
def test_tedlium(before, after):
    assert normalise.tedlium(before) == after


@pytest.mark.parametrize("after", sorted({after for _, after in TEDLIUM}))
def test_a_normalised_text_stays_as_it_is(after):
    assert normalise.tedlium(after) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("MISTER QUILTER'S MANNER", "MISTER QUILTER'S MANNER"),
        (" HE SAID  SO\t", "HE SAID SO"),
        ("TO-DAY AND TO MORROW", "TO-DAY AND TO MORROW"),
    ],
)
def test_librispeech(before, after):
    assert normalise.librispeech(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<s> RUBOUT G M E F THREE NINE </s>", "RUBOUT G M E F THREE NINE"),
        ("ERASE  C Q Q F SEVEN ", "ERASE C Q Q F SEVEN"),
        ("<s> </s>", ""),
    ],
)
def test_an4(before, after):
    assert normalise.an4(before) == after


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("it 's here", (2, 2)),
        ("wait 'til <unk> comes {NOISE} back", (3, 6)),
        ("<sil> 'cause", (0, 2)),
    ],
)
def test_the_range_of_words_that_other_preparations_count(text, counts):
    assert normalise.tedlium_word_range(text) == counts
