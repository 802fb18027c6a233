#!/usr/bin/env python3
"""Print the summary table of the README: what each method changes against LD, from the committed results.

    python tools/summary.py            # a test compares it with the README

A change is that of the word errors on a test set, in percent. Where a page was made before `dld report` tested the mean
over all depths, that column is worked out from its error rates, and has no test.
"""

from pathlib import Path
from typing import NamedTuple

from dld.files import read_json
from dld.reporting.markdown import table

RECIPES = Path(__file__).parents[1] / "recipes"
METHODS = (
    "dld",
    "dld_plus",
    "dld_mixed",
    "dld_fading",
    "early_exit",
    "early_exit_start",
    "dld_sandwich",
    "dld_exits",
    "self_kd",
    "interctc_sd",
)
RANGES = {"high dropping": "high", "no dropping": "no", "all depths": "mean"}
LIMIT = 0.05


class Source(NamedTuple):
    """A page of results: its folder in `recipes`, the test set that is taken of it, and what was run."""

    folder: str
    test_set: str
    what: str


SOURCES = (
    Source("mini/results/plus", "test_large", "Conformer, synthetic speech"),
    Source("mini/results/fbank", "test_large", "the same, another teacher"),
    Source("an4/results/comparison", "test", "Conformer, recorded speech"),
    Source("mini/results/wavlm", "test", "WavLM of 6 blocks from its teacher, synthetic speech"),
    Source("queen/results/tiny", "test", "Whisper tiny.en from its teacher"),
    Source("queen/results/published", "test", "Whisper tiny.en, published weights"),
    Source("queen/results/base", "test", "Whisper base from its teacher"),
)


def changes(results: dict, test_set: str, system: str) -> dict[str, tuple[float, float | None]]:
    """Return the change against LD in percent and its p for each range of depths that was compared."""
    found = {
        RANGES[entry["range"]]: (entry["relative"], entry["p"])
        for entry in results["comparisons"]
        if (entry["system"], entry["baseline"], entry["test_set"], entry["variant"]) == (system, "ld", test_set, "")
        and entry["range"] in RANGES
    }
    if found and "mean" not in found:
        rates = {
            name: {
                row["depth"]: row["wer"]
                for row in results["summary"]
                if (row["system"], row["test_set"], row["variant"]) == (name, test_set, "")
            }
            for name in (system, "ld")
        }
        common = rates[system].keys() & rates["ld"].keys()
        if len(common) > 1:
            ours, theirs = (sum(rates[name][depth] for depth in common) for name in (system, "ld"))
            found["mean"] = 100.0 * (ours / theirs - 1.0), None
    return found


def summary() -> str:
    """Return the table."""
    body = []
    for source in SOURCES:
        results = read_json(RECIPES / source.folder / "results.json")
        link = f"[{source.folder.partition('/')[0]}](recipes/{source.folder}/README.md): {source.what}"
        for system in METHODS:
            found = changes(results, source.test_set, system)
            if not found:
                continue
            cells = [
                f"{found[name][0]:+.1f} %".replace("-", "−") if name in found else None for name in RANGES.values()
            ]
            proven = [name for name, (_, p) in found.items() if p is not None and p < LIMIT]
            body.append([link, f"`{system}`", *cells, ", ".join(proven) or "none"])
            link = ""
    heads = ["corpus and encoder", "method", "high dropping", "no dropping", "mean of depths", "p < 0.05"]
    return table(heads, body, right_from=2)


if __name__ == "__main__":
    print(summary())
