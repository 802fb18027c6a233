"""Picture of the training: error rates of a depth, losses and learning rate against training time."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt

from dld.reporting.results import MOST_LINES, Curve
from dld.reporting.style import GREY, OTHERS, STYLE, legend_of, name_of, percent_axis, save, styles


class Panel(NamedTuple):
    """One panel: its title, and the column that it shows of each run that has one."""

    title: str
    columns: list[tuple[Curve, list]]
    percent: bool = False


def common_depths(curves: Sequence[Curve]) -> list[int]:
    """Return the depths at which most runs were validated, of equally many the longer list."""
    counts = Counter(tuple(curve.depths) for curve in curves)
    return list(max(counts.items(), key=lambda entry: (len(entry[0]) > 1, entry[1], len(entry[0])))[0])


def panels(curves: Sequence[Curve]) -> list[Panel]:
    """Return what can be compared: of each depth the runs that were validated at it, means over equal depths only."""
    depths = common_depths(curves)
    same = [curve for curve in curves if curve.depths == depths]
    mean = f"mean of depths {', '.join(map(str, depths))}" if len(depths) > 1 else f"depth {depths[0]}"
    found = []
    if any(curve.wer for curve in curves):
        for n in dict.fromkeys((max(depths), min(depths))):
            found.append(_panel(f"dev WER, %, depth {n}", curves, lambda curve, n=n: _at(curve, n), True))
    else:
        found.append(_panel(f"dev WER, %, {mean}", same, lambda curve: curve.mean_wer, True))
    found += [
        _panel(f"dev loss, {mean}", same, lambda curve: (curve.logged or {}).get("valid_loss")),
        _panel("training loss, CTC", curves, lambda curve: (curve.logged or {}).get("train_ctc")),
        _panel("training loss, soft targets (KL)", curves, lambda curve: (curve.logged or {}).get("train_kd")),
        _panel("learning rate", curves, lambda curve: (curve.logged or {}).get("lr")),
    ]
    return [panel for panel in found if panel.columns]


def _at(curve, depth):
    """Return a run's error rates at a depth; a run of one depth has them as its mean."""
    return curve.mean_wer if curve.depths == [depth] else (curve.wer or {}).get(str(depth))


def _panel(title: str, curves: Sequence[Curve], column: Callable, percent: bool = False) -> Panel:
    columns = [(curve, column(curve)) for curve in curves]
    return Panel(title, [(curve, c) for curve, c in columns if c and any(v is not None for v in c)], percent)


def in_colour(curves: Sequence[Curve]) -> list[str]:
    """Return the systems whose lines have a colour: all, or where they are many the one-depth one and the best ones."""
    systems = list(dict.fromkeys(curve.system for curve in curves))
    if len(systems) <= MOST_LINES:
        return systems
    depths = common_depths(curves)
    last = {curve.system: curve.mean_wer[-1] for curve in curves if curve.depths == depths}
    best = sorted(last, key=lambda system: last[system])[: MOST_LINES // 2]
    return [system for system in systems if system in best or system in ("static", "ld", "dld")]


def plot_training(curves: Sequence[Curve], systems: Sequence[str], output: Path) -> str | None:
    """Draw error rates, losses and learning rate against training time; see `panels`.

    Parameters
    ----------
    curves : sequence of Curve
        `training` of `results.json`.
    systems : sequence of str
        Every system of the report.
    output : Path
        Folder for the files.

    Returns
    -------
    str or None
        The name of the PNG file; None where there is nothing to draw.
    """
    if not curves:
        return None
    shown = panels(curves)
    coloured = in_colour([curve for panel in shown for curve, _ in panel.columns])
    looks = {system: look for system, look in styles(systems).items() if system in coloured}
    # The networks of one depth each are runs of one system, no seeds.
    seeds = Counter({curve.system: len({c.seed for c in curves if c.system == curve.system}) for curve in curves})
    longest = max(second for panel in shown for curve, _ in panel.columns for second in curve.seconds)
    unit, unit_name = next(
        (u, n) for u, n in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if longest >= 2 * u or u == 1
    )
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    size = (7.2, 4.8) if len(shown) == 1 else (4.7 * columns, 3.5 * rows)
    with plt.rc_context({**STYLE, "font.size": 11 if len(shown) == 1 else 10}):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        for axis, panel in zip(axes.flat, shown, strict=False):
            _draw(axis, panel, looks, seeds, unit)
            axis.set_xlabel(f"training time, {unit_name}")
        figure.suptitle("Training", x=0.02, ha="left", fontsize=13)
        figure.tight_layout()
        legend_of(figure, [axis for axis in axes.flat if axis.get_visible()])
        return save(figure, output, "training")


def _draw(axis, panel, looks, seeds, unit):
    """Draw the runs of a panel; further seeds are thin lines of the same colour."""
    values = [value for _, column in panel.columns for value in column if value is not None]
    if panel.percent:
        percent_axis(axis, min(values), max(values))
    begun = set()
    for curve, column in panel.columns:
        points = [(s / unit, v) for s, v in zip(curve.seconds, column, strict=True) if v is not None]
        first = curve.system not in begun
        grey = curve.system not in looks
        label = OTHERS if grey else name_of(curve.system, "", [seeds[curve.system]])
        axis.plot(
            *zip(*points, strict=True),
            label=label if first else None,
            linewidth=1.8 if first and not grey else 0.9,
            markersize=4.5 if first and not grey else 0,
            markevery=max(1, len(points) // 12),
            zorder=2 if grey else 3,
            **looks.get(curve.system, {"color": GREY, "marker": ""}),
        )
        begun.add(curve.system)
    axis.set_xlim(left=0)
    axis.set_title(panel.title, loc="left", fontsize=10.5)
