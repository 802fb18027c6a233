"""Pictures of the results: error rate against compute, and against training time."""

import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (the backend must be chosen first)
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from dld.files import atomic_write  # noqa: E402
from dld.reporting.results import Curve, Rate  # noqa: E402

# Okabe and Ito's palette, distinguishable with every common colour-vision deficiency; shapes differ as well.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NAMES = {
    "static": "static (no dropping)",
    "dedicated": "dedicated, one for each depth",
    "ld": "layer dropping (LD)",
    "dld": "distilled (DLD)",
    "dld_plus": "DLD plus",
    "early_exit": "early exit",
    "interctc_sd": "InterCTC + stochastic depth",
    "self_kd": "self-distillation, sandwich",
}
HEIGHT = 4.8
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dld",
}


def _styles(systems):
    """Return colour and marker of each system; the static networks are black and grey.

    The systems of NAMES look the same on every page, whatever else is on it; others come after them.
    """
    static = {"static": {"color": "#000000", "marker": "*"}, "dedicated": {"color": "#777777", "marker": "*"}}
    known = [system for system in NAMES if system not in static]
    others = [system for system in systems if system not in NAMES]
    # Where a colour comes a second time, it has another shape.
    styles = {
        system: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        }
        for index, system in enumerate(known + others)
    }
    return {**styles, **static}


def _save(figure, output, name):
    files = []
    for suffix in ("png", "svg"):
        buffer = io.BytesIO()
        # No creation date, so that the same results have the same bytes.
        metadata = {"Date": None} if suffix == "svg" else {}
        figure.savefig(buffer, format=suffix, dpi=150, bbox_inches="tight", metadata=metadata)
        with atomic_write(output / f"{name}.{suffix}", "wb") as out:
            out.write(buffer.getvalue())
        files.append(f"{name}.{suffix}")
    plt.close(figure)
    return files


def _percent_axis(axis, low, high):
    """Make a linear axis from 0, or a logarithmic one where the values span more than a factor of ten."""
    if low > 0 and high / low > 10:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        return True
    axis.set_ylim(0, 1.08 * high if high else 1)
    return False


def _depth_axis(axis, rows):
    """Write depths along the top, where one depth costs the same in every system; else a number at each point."""
    costs = defaultdict(list)
    for row in rows:
        costs[row.depth].append(row.gmacs_per_s)
    if all(max(values) <= 1.01 * min(values) for values in costs.values()):
        top = axis.secondary_xaxis("top")
        top.set_xticks([sum(values) / len(values) for values in costs.values()], [str(depth) for depth in costs])
        top.tick_params(length=3)
        top.set_xlabel(f"blocks run, of {max(row.num_blocks for row in rows)}")
        return
    for row in rows:
        point = (row.gmacs_per_s, row.wer)
        axis.annotate(str(row.depth), point, xytext=(5, 5), textcoords="offset points", fontsize=9)


def plot_tradeoff(rows: Sequence[Rate], systems: Sequence[str], output: Path, title: str) -> list[str]:
    """Draw error rate against compute, one panel per test set, one line per system, intervals as bands and bars.

    Parameters
    ----------
    rows : sequence of Rate
        `summary` of `results.json`.
    systems : sequence of str
        Every system of the report.
    output : Path
        Folder for the files.
    title : str
        Title of the picture.

    Returns
    -------
    list of str
        The names of the files.
    """
    sets = list(dict.fromkeys(row.test_set for row in rows))
    styles = _styles(systems)
    columns = min(2, len(sets))
    lines = -(-len(sets) // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(lines, columns, figsize=(7.2 * columns, HEIGHT * lines), squeeze=False)
        for axis in axes.flat[len(sets) :]:
            axis.set_visible(False)
        for axis, test_set in zip(axes.flat, sets, strict=False):
            _draw_panel(axis, [row for row in rows if row.test_set == test_set], styles)
            if len(sets) > 1:
                axis.set_title(test_set, loc="left", fontsize=11)
        figure.suptitle(title, x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        return _save(figure, output, "tradeoff")


def _draw_panel(axis, rows, styles):
    lowest = min(row.wer for row in rows)
    logarithmic = _percent_axis(axis, lowest, max(row.wer_high for row in rows))
    # A logarithmic axis has no zero: lower bounds of 0 are drawn at its foot.
    floor = lowest / 3 if logarithmic else 0.0
    groups = defaultdict(list)
    for row in rows:
        groups[row.system, row.variant].append(row)
    for (system, variant), points in groups.items():
        points.sort(key=lambda row: row.gmacs_per_s)
        x = [row.gmacs_per_s for row in points]
        y, low, high = ([max(floor, getattr(row, name)) for row in points] for name in ("wer", "wer_low", "wer_high"))
        style = styles[system]
        label = NAMES.get(system, system) + (f", {variant}" if variant else "")
        # Of a few draws, an interval need not hold the rate.
        bars = [[max(0.0, a - b) for a, b in pairs] for pairs in (zip(y, low, strict=True), zip(high, y, strict=True))]
        axis.errorbar(
            x,
            y,
            yerr=bars,
            label=label,
            linestyle="--" if variant else "-",
            linewidth=1.8,
            elinewidth=1.1,
            capsize=3,
            markersize=11 if style["marker"] == "*" else 6,
            markerfacecolor="white" if variant else style["color"],
            zorder=4 if system == "static" else 3,
            **style,
        )
        if len(points) > 1:
            axis.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)
        else:
            axis.axhline(y[0], color=style["color"], linestyle=":", linewidth=1.2)
    axis.set_xlim(left=0)
    axis.set_xlabel("compute, GMAC per second of audio")
    axis.set_ylabel("word error rate, %")
    _depth_axis(axis, rows)
    _legend(axis)


def _legend(axis):
    """Put the legend in the axes where a few lines leave room for it, else below them, and make the figure higher."""
    lines = len(axis.get_legend_handles_labels()[1])
    if lines <= 5:
        axis.legend(loc="best")
        return
    below = {"loc": "upper left", "bbox_to_anchor": (-0.05, 0.0), "borderaxespad": 4.5}
    axis.legend(**below, ncols=2, fontsize=9, handlelength=1.6, columnspacing=1.2)
    figure = axis.figure
    figure.set_figheight(max(figure.get_figheight(), HEIGHT + 0.25 * -(-lines // 2)))


def plot_training(curves: Sequence[Curve], systems: Sequence[str], output: Path, title: str) -> list[str]:
    """Draw the validation error rate (mean over depths) against training time.

    Networks of a single depth that is not the full one are left out: their rate is not a mean over depths.

    Parameters
    ----------
    curves : sequence of Curve
        `training` of `results.json`.
    systems : sequence of str
        As for `plot_tradeoff`.
    output : Path
        Folder for the files.
    title : str
        Title of the picture.

    Returns
    -------
    list of str
        The names of the files; none where there is nothing to draw.
    """
    styles = _styles(systems)
    curves = [curve for curve in curves if curve.system != "dedicated"]
    if not curves:
        return []
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(7.2, HEIGHT))
        rates = [rate for curve in curves for rate in curve.mean_wer]
        _percent_axis(axis, min(rates), max(rates))
        longest = max(second for curve in curves for second in curve.seconds)
        unit, unit_name = next(
            (u, n) for u, n in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if longest >= 2 * u or u == 1
        )
        drawn = set()
        for curve in curves:
            system = curve.system
            times = [second / unit for second in curve.seconds]
            # Further seeds are thin lines of the same colour.
            epochs = curve.epoch[-1]
            label = f"{NAMES.get(system, system)}, {epochs} epoch{'s' if epochs > 1 else ''}"
            axis.plot(
                times,
                curve.mean_wer,
                label=None if system in drawn else label,
                linewidth=0.8 if system in drawn else 1.8,
                markersize=0 if system in drawn else 5,
                markevery=max(1, len(times) // 15),
                **styles[system],
            )
            drawn.add(system)
        axis.set_xlim(left=0)
        axis.set_xlabel(f"training time, {unit_name}")
        axis.set_ylabel("validation word error rate, %\n(mean over the depths)")
        _legend(axis)
        figure.suptitle(title, x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        return _save(figure, output, "training")
