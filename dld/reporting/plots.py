"""Pictures of the results: error rate against compute and time, and the gates that ran."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from dld.reporting.headline import OF_ONE_DEPTH
from dld.reporting.results import MOST_LINES, Rate, Results, lines_of
from dld.reporting.style import GREY, STYLE, legend_of, name_of, percent_axis, save, styles

HEIGHT = 4.8
COMPUTE, TIME = "compute, GMAC per second of audio", "median time of an utterance, ms"


def draw(results: Results, systems: Sequence[str], output: Path) -> list[str]:
    """Draw all pictures of a report; return the names of the PNG files.

    `systems` has every system of the report, in the order of legends.
    """
    from dld.reporting.plots_training import plot_training

    pictures = [plot_tradeoff(results, systems, output), plot_gates(results, output)]
    return [name for name in [*pictures, plot_training(results.training, systems, output)] if name]


def plot_tradeoff(results: Results, systems: Sequence[str], output: Path) -> str:
    """Draw error rate against compute, and next to it against time where that was measured.

    One row or panel for each test set, one line for each system and variant, intervals as bands and bars. Where there
    are more than `MOST_LINES`, each has a panel of its own with the baseline.
    """
    sets = {name: [r for r in results.summary if r.test_set == name] for name in _sets(results)}
    if max(len(lines_of(rates)) for rates in sets.values()) > MOST_LINES:
        return _small_multiples(results, sets, systems, output)
    timed = any(results.milliseconds(rate) is not None for rate in results.summary)
    panels = [(name, axis) for name in sets for axis in ((COMPUTE, TIME) if timed else (COMPUTE,))]
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    looks, labels = styles(systems), _labels(results)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(7.2 * columns, HEIGHT * rows), squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (name, kind) in zip(axes.flat, panels, strict=False):
            costs = {id(r): r.gmacs_per_s if kind == COMPUTE else results.milliseconds(r) for r in sets[name]}
            _draw_panel(axis, [r for r in sets[name] if costs[id(r)] is not None], looks, labels, costs)
            axis.set_xlabel(kind)
            if len(sets) > 1:
                axis.set_title(name, loc="left", fontsize=11)
            if kind == COMPUTE:
                _depth_axis(axis, sets[name])
        figure.suptitle(results.title, x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        legend_of(figure, [axis for axis in axes.flat if axis.get_visible()])
        return save(figure, output, "tradeoff")


def _labels(results):
    """Return the names of the lines, with their numbers of seeds over all test sets."""
    return {
        key: name_of(*key, sorted({len(rate.seeds) for rate in rates}))
        for key, rates in lines_of(results.summary).items()
    }


def _sets(results):
    return list(dict.fromkeys(rate.test_set for rate in results.summary))


def _depth_axis(axis, rates):
    """Write depths along the top, where one depth costs the same in every system; else a number at each point."""
    costs = defaultdict(list)
    for rate in rates:
        costs[rate.depth].append(rate.gmacs_per_s)
    if all(max(values) <= 1.01 * min(values) for values in costs.values()):
        top = axis.secondary_xaxis("top")
        top.set_xticks([sum(values) / len(values) for values in costs.values()], [str(depth) for depth in costs])
        top.tick_params(length=3)
        top.set_xlabel(f"blocks run, of {max(rate.num_blocks for rate in rates)}")
        return
    for rate in rates:
        point = (rate.gmacs_per_s, rate.wer)
        axis.annotate(str(rate.depth), point, xytext=(5, 5), textcoords="offset points", fontsize=9)


def _draw_panel(axis: Axes, rates: Sequence[Rate], looks: dict, labels: dict, costs: dict) -> None:
    if not rates:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center")
        return
    lowest = min(rate.wer for rate in rates)
    logarithmic = percent_axis(axis, lowest, max(rate.wer_high for rate in rates))
    # A logarithmic axis has no zero: lower bounds of 0 are drawn at its foot.
    floor = lowest / 3 if logarithmic else 0.0
    for key, points in lines_of(rates).items():
        _draw_line(axis, points, looks[key[0]], labels[key], floor, [costs[id(rate)] for rate in points])
    axis.set_xlim(left=0)
    axis.set_ylabel("word error rate, %")


def _draw_line(axis, points, look, label, floor, x):
    """Draw one line with its intervals; a single point has a dotted line through it."""
    y, low, high = ([max(floor, getattr(rate, name)) for rate in points] for name in ("wer", "wer_low", "wer_high"))
    # Of a few draws, an interval need not hold the rate.
    bars = [[max(0.0, a - b) for a, b in pairs] for pairs in (zip(y, low, strict=True), zip(high, y, strict=True))]
    hollow = bool(points[0].variant)
    axis.errorbar(
        x,
        y,
        yerr=bars,
        label=label,
        linestyle="--" if hollow else "-",
        linewidth=1.8,
        elinewidth=1.1,
        capsize=3,
        markersize=11 if look["marker"] == "*" else 6,
        markerfacecolor="white" if hollow else look["color"],
        zorder=4 if points[0].system == "static" else 3,
        **look,
    )
    if len(points) > 1:
        axis.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)
    else:
        axis.axhline(y[0], color=look["color"], linestyle=":", linewidth=1.2)


def _small_multiples(results, sets, systems, output):
    """Draw a panel for each system next to the baseline (grey) and the static network (dotted), best ones first."""
    looks, labels = styles(systems), _labels(results)
    columns = 4
    # A variant is compared with the same variant of the baseline, where there is one.
    panels = {name: _panels(results, name, rates) for name, rates in sets.items()}
    rows = [(name, keys[i : i + columns]) for name, (_, keys) in panels.items() for i in range(0, len(keys), columns)]
    with plt.rc_context({**STYLE, "font.size": 9}):
        figure, axes = plt.subplots(len(rows), columns, figsize=(3.1 * columns, 2.5 * len(rows)), squeeze=False)
        for line, (name, keys) in zip(axes, rows, strict=True):
            lines, baseline = lines_of(sets[name]), panels[name][0]
            for axis in line[len(keys) :]:
                axis.set_visible(False)
            for axis, key in zip(line, keys, strict=False):
                same = (baseline[0], key[1])
                reference = same if same in lines and same != key else baseline
                _draw_multiple(axis, lines, key, reference, looks[key[0]])
                changes = _changes(results, name, key, reference)
                axis.set_title(f"{labels[key]}\n{changes}" if changes else labels[key], loc="left", fontsize=9.5)
                _limits(axis, sets[name])
                if len(sets) > 1 and key == keys[0]:
                    axis.set_ylabel(f"{name}: WER, %")
        figure.supxlabel("compute, GMAC per second of audio", fontsize=10)
        figure.supylabel("" if len(sets) > 1 else "word error rate, %", fontsize=10)
        figure.suptitle(results.title, x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        legend_of(figure, [axis for axis in axes.flat if axis.get_visible()])
        return save(figure, output, "tradeoff")


def _panels(results, name, rates):
    """Return the line that all others are compared with, and the others from the fewest to the most errors."""
    lines = lines_of(rates)
    wanted = [(entry.baseline, "") for entry in results.comparisons] + [key for key in lines if len(lines[key]) > 1]
    reference = next(key for key in [*wanted, *lines] if key in lines)
    others = [key for key in lines if key != reference and key[0] != "static"]
    means = {key: sum(rate.wer for rate in lines[key]) / len(lines[key]) for key in others}
    return reference, sorted(others, key=lambda key: means[key])


def _draw_multiple(axis, lines, key, reference, look):
    for other, colour, marker in ((("static", ""), "#000000", "*"), (reference, GREY, None)):
        points = lines.get(other, [])
        x, y = [rate.gmacs_per_s for rate in points], [rate.wer for rate in points]
        if len(points) == 1:
            axis.axhline(y[0], color=colour, linestyle=":", linewidth=1.2, label=name_of(*other))
        elif points and other != key:
            axis.plot(x, y, color=colour, marker=marker, linewidth=1.6, label=name_of(*other))
    points = lines[key]
    x = [rate.gmacs_per_s for rate in points]
    bounds = [[getattr(rate, name) for rate in points] for name in ("wer_low", "wer_high")]
    axis.plot(x, [rate.wer for rate in points], **look, linewidth=1.8, markersize=5, zorder=3)
    axis.fill_between(x, *bounds, color=look["color"], alpha=0.18, linewidth=0)


def _limits(axis, rates):
    lowest, highest = min(rate.wer for rate in rates), max(rate.wer_high for rate in rates)
    if percent_axis(axis, lowest, highest):
        axis.set_ylim(0.8 * lowest, 1.15 * highest)
    axis.set_xlim(0, 1.05 * max(rate.gmacs_per_s for rate in rates))


def _changes(results, test_set, key, reference):
    """Return the change of the errors at both ends, against the baseline that the panel shows."""
    found = {
        entry.range: f"{entry.relative:+.0f} %"
        for entry in results.comparisons
        if (entry.test_set, entry.system, entry.variant) == (test_set, *key) and entry.baseline == reference[0]
        if entry.relative is not None
    }
    named = [f"{name.split()[0]} {found[name]}" for name in ("high dropping", "no dropping") if name in found]
    return f"dropping: {', '.join(named)}".replace("-", "−") if named else ""


def gate_maps(results: Results) -> dict[tuple[str, tuple], list[str]]:
    """Return the systems that ran the same gates, by policy and by the share of the seeds that ran each block.

    The second part of a key has for each depth the depth and the shares, in the order of the blocks. Networks of one
    depth are left out.
    """
    vectors: dict[tuple[str, str], dict[int, dict[str, str]]] = {}
    for row in results.rows:
        if row.system not in OF_ONE_DEPTH:
            depths = vectors.setdefault((row.label, row.policy), {})
            depths.setdefault(row.depth, {})[row.run] = row.gates
    maps: dict[tuple[str, tuple], list[str]] = {}
    for (label, policy), depths in vectors.items():
        shares = tuple(
            (n, tuple(sum(gate == "1" for gate in column) / len(runs) for column in zip(*runs.values(), strict=True)))
            for n, runs in sorted(depths.items())
        )
        maps.setdefault((policy, shares), []).append(label)
    return maps


def plot_gates(results: Results, output: Path) -> str | None:
    """Draw which blocks run at each depth, one panel for all systems that run the same; None without such systems."""
    maps = gate_maps(results)
    if not maps:
        return None
    rows = -(-len(maps) // 4)
    columns = -(-len(maps) // rows)
    blocks = max(row.num_blocks for row in results.rows)
    most = max(len(shares) for _, shares in maps)
    colours = LinearSegmentedColormap.from_list("gates", ["#F2F2F2", "#0072B2"])
    size = ((0.2 * blocks + 1.1) * columns, (0.24 * most + 1.1) * rows + 0.4)
    with plt.rc_context({**STYLE, "font.size": 9, "axes.grid": False}):
        figure, axes = plt.subplots(rows, columns, figsize=(max(size[0], 6.0), size[1]), squeeze=False)
        for axis in axes.flat[len(maps) :]:
            axis.set_visible(False)
        for axis, ((policy, shares), labels) in zip(axes.flat, maps.items(), strict=False):
            grid = [values for _, values in shares]
            width = len(grid[0])
            axis.pcolormesh(grid, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)
            axis.set_yticks([index + 0.5 for index in range(len(shares))], [str(n) for n, _ in shares])
            axis.set_xticks([index + 0.5 for index in range(width)], [str(index + 1) for index in range(width)])
            axis.tick_params(length=0, labelsize=8)
            axis.set_title(_wrapped(labels, policy), loc="left", fontsize=9.5)
            axis.set(xlabel="block", ylabel="depth")
            for spine in axis.spines.values():
                spine.set_visible(False)
        figure.suptitle("Blocks that run at each depth", x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        return save(figure, output, "gates")


def _wrapped(labels, policy):
    """Return the title of a gate map in lines that are as wide as its panel."""
    lines = [""]
    for word in [f"{label}," for label in labels[:-1]] + [labels[-1], f"({policy})"]:
        if lines[-1] and len(lines[-1]) + len(word) > 30:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
