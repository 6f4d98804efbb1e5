"""The goals, and whether they are met."""

from .numbers import difference, median, quotient
from .scenarios import AFTER, CPU, EVENT, P99, PARKED, number


def against(scenario, peer, figure=CPU, base=None):
    """A figure of Cometbox in units of another's, or of its own other work."""
    return lambda of: quotient(of(scenario, "cometbox"), of(base or scenario, peer), figure[2])


def parked(figure):
    """The most crowded park that was run counts."""

    def find(of):
        sizes = ("park-18000", "park-10000", "park-2000")
        found = [median(of(scenario, "cometbox"), figure[2]) for scenario in sizes]
        return next((value for value in found if value is not None), None)

    return find


def share(of):
    return difference(of("events", "cometbox"), of("events", "cometbox-open"), EVENT[2])


# What, at most, digits, and how it is found.
GOALS = [
    ("broadcast to 1 000: CPU per delivery, Cometbox : nchan tuned", 0.7, 2, against("broadcast-1000", "nchan-tuned")),
    ("broadcast to 10 000: CPU per delivery, Cometbox : nchan", 0.8, 2, against("broadcast-10000", "nchan")),
    ("direct: CPU per delivery, Cometbox : nchan", 0.75, 2, against("direct", "nchan")),
    ("chat: CPU per delivery, Cometbox : nchan", 0.8, 2, against("chat", "nchan")),
    ("direct at 10 000/s: latency p99, Cometbox : nchan", 1.0, 2, against("direct-10000", "nchan", P99)),
    ("bytes per parked poll", 1200, 0, parked(PARKED)),
    ("bytes per parked poll after a message", 1600, 0, parked(AFTER)),
    ("a plugin's share of an event, µs", 1.0, 2, share),
    (
        "direct: CPU per delivery, 100 000 mailboxes of which 1 % are active : 1 000",
        1.2,
        2,
        against("direct-idle", "cometbox", base="direct"),
    ),
]


def goals(results):
    """A table of those that were measured; empty if none was."""
    of = lambda scenario, server: results.get((scenario, server), [])
    lines = ["| goal | at most | measured | |", "|---|---|---|---|"]
    for title, limit, digits, find in GOALS:
        found = find(of)
        if found is not None:
            verdict = "met" if found <= limit else "**not met**"
            lines.append(f"| {title} | {number(limit, digits)} | {number(found, digits)} | {verdict} |")
    return "\n".join(lines) if len(lines) > 2 else ""
