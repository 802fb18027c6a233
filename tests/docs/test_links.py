"""Links between the pages of the repository lead somewhere, and the examples of the guide run."""

import doctest
import re

import pytest

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def pages(root):
    folders = ("docs", "recipes/*", "benchmarks", "egs_data", "recipes", ".")
    return sorted(
        {page for folder in folders for page in root.glob(f"{folder}/*.md")} | {*root.glob("recipes/*/results/**/*.md")}
    )


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda match: match[0].strip("`"), page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere(root):
    broken, seen = [], 0
    for page in pages(root):
        for link in LINK.findall(CODE.sub("", page.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            seen += 1
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(root)}: {link}")
    assert broken == []
    assert seen > 20


@pytest.mark.parametrize("name", ["concepts.md"])
def test_examples_of_the_guide_run(root, name):
    result = doctest.testfile(str(root / "docs" / name), module_relative=False)
    assert result.attempted > 0 and result.failed == 0


def test_the_navigation_names_pages_that_exist(root):
    named = re.findall(r": (\S+\.md)$", (root / "mkdocs.yml").read_text(), re.M)
    assert len(named) > 5
    assert [name for name in named if not (root / name).is_file()] == []
