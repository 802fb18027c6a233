"""Extend MkDocs (mkdocs.yml): pages from the whole repository, and the API reference.

The pages of the site keep their paths in the repository. Every file of the repository that a page links to is part of
the site as well; a link to a file that does not exist is an error.
"""

import re
import subprocess
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s#]+)([^)\s]*)\)")
FENCE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def repository() -> list[str]:
    """Return the paths of the repository's files, as git knows them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def packages() -> list[str]:
    """Return the names of the packages and modules of dld that the reference describes: all but the commands."""
    inside = (path for path in (ROOT / "dld").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file())
    return sorted(path.stem for path in inside if path.stem != "bin" and not path.stem.startswith("_"))


def target_of(page: str, link: str) -> str:
    """Return the path in the repository that `link` on `page` names."""
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / link).parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return "/".join(parts)


def on_config(config: MkDocsConfig) -> None:
    """Add the reference to the navigation."""
    pages = [{"dld": "reference/dld.md"}, *({f"dld.{name}": f"reference/{name}.md"} for name in packages())]
    config.nav.insert(2, {"API reference": pages})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of docs/ by the pages of the whole repository, what they link to, and the reference."""
    known = repository()
    pages = [path for path in known if path.endswith(".md") and not path.startswith(".")]
    linked = {
        target_of(page, link)
        for page in pages
        for _, link, _ in LINK.findall((ROOT / page).read_text(encoding="utf-8"))
        if "://" not in link
    }
    chosen = [
        File.generated(config, path, abs_src_path=str(ROOT / path))
        for path in known
        if path in pages or path in linked and not path.startswith(".")
    ]
    options = "    options:\n      show_submodules: false\n"
    reference = [File.generated(config, "reference/dld.md", content=f"::: dld\n{options}")]
    for name in packages():
        reference.append(File.generated(config, f"reference/{name}.md", content=f"::: dld.{name}\n"))
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *chosen, *reference])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to folders lead to their README; a folder without one has no page, only its name stays."""

    def to_readme(match: re.Match[str]) -> str:
        text, link, _ = match.groups()
        folder = ROOT / target_of(page.file.src_uri, link)
        if "://" in link or not folder.is_dir():
            return match[0]
        return f"[{text}]({link.rstrip('/')}/README.md)" if (folder / "README.md").is_file() else text

    parts = FENCE.split(markdown)
    return "".join(part if index % 2 else LINK.sub(to_readme, part) for index, part in enumerate(parts))
