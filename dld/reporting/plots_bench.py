"""The picture of `dld bench`: time against depth."""

from pathlib import Path

import matplotlib.pyplot as plt

from dld.profiling.bench_records import Bench
from dld.reporting.style import COLOURS, MARKERS, STYLE, legend_of, save

HEIGHT = 4.8
#: Times that are further from each other have a logarithmic axis, on which depths are not on a straight line.
TOO_FAR = 50


def plot_bench(bench: Bench, output: Path) -> str:
    """Draw the time of an utterance against depth, a panel for each number of threads; return the name of the PNG file.

    A line for each model; a single graph is a point at full depth.
    """
    numbers = sorted({row.threads for row in bench.rows})
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(numbers), figsize=(7.2 * len(numbers), HEIGHT), squeeze=False)
        for axis, threads in zip(axes.flat, numbers, strict=True):
            drawn = []
            for index, subject in enumerate(bench.subjects):
                rows = [r for r in bench.rows if (r.name, r.threads, r.spinning) == (subject.name, threads, False)]
                times = [row.cpu_ms if threads == 1 else row.p50_ms for row in rows]
                drawn += times
                axis.plot(
                    [row.depth for row in rows],
                    times,
                    color=COLOURS[index % len(COLOURS)],
                    marker=MARKERS[index % len(MARKERS)],
                    markerfacecolor="white" if subject.kind == "one graph" else None,
                    markersize=9 if subject.kind == "one graph" else 6,
                    linestyle="none" if subject.kind == "one graph" else "-",
                    linewidth=1.8,
                    label=subject.name if subject.kind != "network" else f"{subject.name} (PyTorch)",
                )
            axis.set_xlim(0, bench.subjects[0].num_blocks + 0.5)
            axis.set_xticks(sorted({row.depth for row in bench.rows}))
            if max(drawn) > TOO_FAR * min(drawn):
                axis.set_yscale("log")
            else:
                axis.set_ylim(0, 1.08 * max(drawn))
            axis.set_xlabel(f"blocks run, of {bench.subjects[0].num_blocks}")
            axis.set_ylabel("median time of an utterance, ms")
            what = "1 thread, processor time" if threads == 1 else f"{threads} threads, wall time"
            axis.set_title(what, loc="left", fontsize=11)
        figure.tight_layout()
        legend_of(figure, list(axes.flat))
        return save(figure, output, "bench")
