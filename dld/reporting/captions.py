"""What the page says below each picture."""

from dld.reporting.results import MOST_LINES, Results, lines_of


def caption(results: Results, picture: str) -> str:
    """Return the text below a picture, by the name of its file."""
    name = picture.partition(".")[0]
    if name == "tradeoff":
        return _tradeoff(results)
    return _gates(results) if name == "gates" else _training(results)


def _tradeoff(results):
    text = "Error rate and what it costs; bands and bars are 95 % intervals, the dotted line a network of one depth."
    sets = dict.fromkeys(rate.test_set for rate in results.summary)
    if max(len(lines_of([r for r in results.summary if r.test_set == name])) for name in sets) > MOST_LINES:
        text = (
            "Error rate and what it costs, one panel for each system, from the fewest errors to the most, with the "
            "baseline in grey and a network of one depth dotted; bands are 95 % intervals. Above each panel: the "
            "change of the word errors against the baseline, at high and at no dropping."
        )
    if any(len(rate.seeds) > 1 for rate in results.summary):
        text += " Lines of several seeds are their mean."
    if any(entry.warning() for entry in results.latency or ()):
        text += " The times were measured on a busy machine (see the warning below)."
    return text


def _gates(results):
    text = "Blue blocks run, grey ones are skipped; systems that run the same blocks share a panel."
    several = len({(row.label, row.run) for row in results.rows}) > len({row.label for row in results.rows})
    which = "seeds and folds" if results.rows[0].fold else "seeds"
    return text + (f" Lighter blue: some of the {which} run the block." if several else "")


def _training(results):
    folds = " and folds" if results.rows[0].fold else ""
    policies = sorted({curve.policy for curve in results.training if curve.policy})
    gates = f"the gates of the policy {' or '.join(policies)}" if policies else "the gates of the run's `eval_policy`"
    text = (
        f"Validation at the end of each epoch runs {gates}, decoding those of the tables below, so the rates of a "
        "depth differ. "
        f"Time is that of the run alone, a teacher's training not included; thin lines are further seeds{folds}."
    )
    if len({curve.system for curve in results.training}) > MOST_LINES:
        text += " Of the many systems, those with the fewest errors at the end and the usual baselines have a colour."
    depths: dict[tuple[int, ...], list[str]] = {}
    for curve in results.training:
        depths.setdefault(tuple(curve.depths), []).append(curve.run)
    if len(depths) > 1:
        each = "; ".join(f"{', '.join(runs)} at {', '.join(map(str, n))}" for n, runs in depths.items())
        text += f" A panel has the runs that were validated at its depths: {each}."
    return text
