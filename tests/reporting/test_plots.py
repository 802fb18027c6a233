"""Pictures of the results."""

import pytest

from dld.reporting import plots
from dld.reporting.results import Rate

EARLY_EXIT = "#CC79A7"


def rows(systems):
    return [
        Rate(
            test_set="test",
            system=system,
            variant="",
            depth=depth,
            num_blocks=4,
            seeds=[1],
            wers=[40.0 - depth],
            wer=40.0 - depth,
            wer_low=39.0 - depth,
            wer_high=41.0 - depth,
            gmacs_per_s=0.1 * depth,
        )
        for system in systems
        for depth in (2, 4)
    ]


@pytest.mark.parametrize(
    "systems",
    [
        ["early_exit"],
        ["static", "ld", "early_exit"],
        ["dld_even", "static", "dedicated", "ld", "dld", "dld_plus", "early_exit", "interctc_sd", "self_kd"],
    ],
)
def test_a_system_has_its_colour_whatever_else_is_drawn(systems, tmp_path):
    plots.plot_tradeoff(rows(systems), systems, tmp_path, "title")
    assert EARLY_EXIT.lower() in (tmp_path / "tradeoff.svg").read_text().lower()
    without = [system for system in systems if system != "early_exit"]
    if without:
        plots.plot_tradeoff(rows(without), without, tmp_path, "title")
        assert EARLY_EXIT.lower() not in (tmp_path / "tradeoff.svg").read_text().lower()
