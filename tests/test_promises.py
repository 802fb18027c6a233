"""The page of promises names tests that exist."""

import re

import pytest


def named(root):
    return sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", (root / "docs/promises.md").read_text())))


def test_every_promise_names_a_test_that_exists(root):
    entries = named(root)
    assert len(entries) > 20
    for entry in entries:
        file, _, test = entry.partition("::")
        assert (root / file).is_file(), entry
        assert not test or f"def {test}(" in (root / file).read_text(), entry


@pytest.mark.parametrize("line", ["| promise | held by |", "| broken inputs | held by |"])
def test_every_row_of_the_tables_names_a_test(root, line):
    page = (root / "docs/promises.md").read_text()
    for table in page.split(line)[1:]:
        for row in table.split("\n\n")[0].strip().splitlines()[1:]:
            assert "`tests/" in row.split("|")[2], row
