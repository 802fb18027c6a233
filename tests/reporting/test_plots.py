"""Pictures of the results."""

import dataclasses
import re

import pytest

from dld.reporting import plots, plots_training, style
from dld.reporting.results import Curve, Environment, Rate, Results, Row

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
    plots.plot_tradeoff(results(rows(systems)), systems, tmp_path)
    assert EARLY_EXIT.lower() in (tmp_path / "tradeoff.svg").read_text().lower()
    without = [system for system in systems if system != "early_exit"]
    if without:
        plots.plot_tradeoff(results(rows(without)), without, tmp_path)
        assert EARLY_EXIT.lower() not in (tmp_path / "tradeoff.svg").read_text().lower()


def results(rates, curves=()):
    """The results that some rates are the summary of."""
    decodes = [
        Row(
            **{name: getattr(rate, name) for name in ("test_set", "system", "variant", "depth", "num_blocks")},
            gates="".join(str(int(block < rate.depth)) for block in range(rate.num_blocks)),
            policy="first-n",
            params=100,
            gmacs_per_s=rate.gmacs_per_s,
            rtf=0.1,
            seed=seed,
            run=f"{rate.system}_seed{seed}",
            **dict.fromkeys(("wer", "wer_low", "wer_high", "ser"), rate.wer),
            **dict.fromkeys(("ins", "del_", "sub"), 1),
            words=100,
            utterances=10,
            cer=None,
        )
        for rate in rates
        for seed in rate.seeds
    ]
    made = Environment(git="abc", date="2026-01-01", versions={}, cpu="x", command="dld", replicates=100, seed=0)
    lists = dict.fromkeys(("comparisons", "convergence", "equal_transcripts"), [])
    return Results(title="title", rows=decodes, summary=list(rates), training=list(curves), environment=made, **lists)


def texts(path):
    """The texts of an SVG picture."""
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def test_a_legend_says_how_many_seeds_a_line_is_the_mean_of(tmp_path):
    rates = [
        dataclasses.replace(r, seeds=[1, 2], wers=[r.wer] * 2) if r.system == "dld" else r for r in rows(["ld", "dld"])
    ]
    plots.plot_tradeoff(results(rates), ["ld", "dld"], tmp_path)
    said = texts(tmp_path / "tradeoff.svg")
    assert "distilled (DLD), 2 seeds" in said and "layer dropping (LD)" in said


def test_each_of_many_lines_has_a_panel_of_its_own(tmp_path):
    systems = ["static", "dld", *(f"dld_{letter}" for letter in "abcdefghijkl")]
    plots.plot_tradeoff(results(rows(systems)), systems, tmp_path)
    said = texts(tmp_path / "tradeoff.svg")
    assert [text for text in said if text.startswith("dld_")] == systems[2:]
    assert said.count("distilled (DLD)") == 1
    looks = style.styles(systems)
    assert len({tuple(look.values()) for name, look in looks.items() if name in systems}) == len(systems)


def test_systems_that_run_the_same_gates_share_a_map_and_seeds_are_shades():
    numbers = results(rows(["static", "ld", "dld"]))
    [((policy, shares), labels)] = plots.gate_maps(numbers).items()
    assert policy == "first-n" and labels == ["ld", "dld"]
    assert shares == ((2, (1.0, 1.0, 0.0, 0.0)), (4, (1.0,) * 4))
    other = dataclasses.replace(numbers.rows[-2], gates="0110", run="dld_seed2", seed=2)
    maps = plots.gate_maps(dataclasses.replace(numbers, rows=[*numbers.rows, other]))
    assert {tuple(labels): dict(shares)[2] for (_, shares), labels in maps.items()} == {
        ("ld",): (1.0, 1.0, 0.0, 0.0),
        ("dld",): (0.5, 1.0, 0.5, 0.0),
    }


def curve(system, depths, **logged):
    """A run of two epochs, validated at some depths."""
    return Curve(
        run=system,
        system=system,
        seed=1,
        epoch=[1, 2],
        updates=[10, 20],
        seconds=[1.0, 2.0],
        mean_wer=[50.0, 30.0],
        depths=depths,
        wer={str(n): [50.0, 30.0] for n in depths},
        logged={"valid_loss": [2.0, 1.0], "train_ctc": [3.0, 2.0], "lr": [0.1, 0.0], **logged},
        policy="evenly-spaced",
    )


def test_training_compares_runs_at_the_same_depth(tmp_path):
    curves = [curve("static", [12]), curve("ld", [2, 12]), curve("dld", [2, 12], train_kd=[0.5, 0.4])]
    shown = {panel.title: [c.system for c, _ in panel.columns] for panel in plots_training.panels(curves)}
    assert shown == {
        "dev WER, %, depth 12": ["static", "ld", "dld"],
        "dev WER, %, depth 2": ["ld", "dld"],
        "dev loss, mean of depths 2, 12": ["ld", "dld"],
        "training loss, CTC": ["static", "ld", "dld"],
        "training loss, soft targets (KL)": ["dld"],
        "learning rate": ["static", "ld", "dld"],
    }
    assert plots_training.plot_training(curves, ["static", "ld", "dld"], tmp_path) == "training.png"


def test_a_mean_over_depths_is_not_compared_with_one_depth():
    curves = [
        dataclasses.replace(curve(name, d), wer=None, logged=None) for name, d in (("static", [12]), ("ld", [2, 12]))
    ]
    [panel] = plots_training.panels(curves)
    assert panel.title == "dev WER, %, mean of depths 2, 12" and [c.system for c, _ in panel.columns] == ["ld"]
