"""The goals, and whether they are met."""

from .numbers import Failed, median, quotient
from .scenarios import AFTER, CPU, P99, PARKED, SHARE, number


def against(peer, scenario, figure=CPU):
    """A figure in units of a peer's."""
    return lambda of, who: quotient(of(scenario, who), of(scenario, peer), figure[2])


def growth(scenario, base, figure=CPU):
    """A figure in units of the same server's for less."""
    return lambda of, who: quotient(of(scenario, who), of(base, who), figure[2])


def value(figure, *scenarios):
    """A figure of the first of these that was run."""

    def find(of, who):
        found = (median(of(scenario, who), figure[2]) for scenario in scenarios)
        return next((value for value in found if value is not None), None)

    return find


PARKS = ("park-10000", "park-18000", "park-2000")

# What, at most, digits, and how it is found.
GOALS = [
    ("broadcast to 1 000: CPU per delivery : nchan tuned", 0.7, 2, against("nchan-tuned", "broadcast-1000")),
    ("broadcast to 10 000: CPU per delivery : nchan", 0.8, 2, against("nchan", "broadcast-10000")),
    ("direct: CPU per delivery : nchan", 0.75, 2, against("nchan", "direct")),
    ("chat: CPU per delivery : nchan", 0.8, 2, against("nchan", "chat")),
    ("direct at 10 000/s: latency p99 : nchan", 1.0, 2, against("nchan", "direct-10000", P99)),
    ("bytes per parked poll", 1200, 0, value(PARKED, *PARKS)),
    ("bytes per parked poll after a message", 1600, 0, value(AFTER, *PARKS)),
    ("a plugin's share of an event, µs", 1.0, 2, value(SHARE, "share-events")),
    ("… where each event is a request and a delivery", 1.0, 2, value(SHARE, "share-direct")),
    ("direct: CPU per delivery, 100 000 mailboxes, 1 % of them active : 1 000", 1.2, 2, growth("direct-idle", "direct")),
]


def goals(results):
    """A table of those that were measured; empty if none was. What the bound
    reaches is beside it: less than that is not to be had."""
    of = lambda scenario, server: results.get((scenario, server), [])
    lines = ["| goal | at most | measured | | raw epoll bound |", "|---|---|---|---|---|"]
    for title, limit, digits, find in GOALS:
        try:
            found, least = find(of, "cometbox"), find(of, "bound")
        except Failed:
            lines.append(f"| {title} | {number(limit, digits)} | failed | **not met** | |")
            continue
        if found is not None:
            verdict = "met" if found <= limit else "**not met**"
            least = "–" if least is None else number(least, digits)
            lines.append(f"| {title} | {number(limit, digits)} | {number(found, digits)} | {verdict} | {least} |")
    return "\n".join(lines) if len(lines) > 2 else ""
