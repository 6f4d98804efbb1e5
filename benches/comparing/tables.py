"""What was found, as Markdown."""

import collections
import datetime
import os
import pathlib
import platform
import statistics

from .goals import goals
from .numbers import Failed, quotient, values
from .report import command_line
from .scenarios import BAYEUX, NAMES, RATE, describe, figures, number, over_h2
from .servers import BAYEUX_WARMUP_S, needs_peers, output

# Above this share of its core the generator is the limit.
BUSY = 0.9


def render(results, options, found, minutes, failures):
    columns = options.servers
    ours = "cometbox-bayeux" if options.bayeux else "cometbox"
    peers = [server for server in columns if server != ours] if ours in columns else []
    titles = [NAMES[server] for server in columns] + [f"Cometbox : {NAMES[peer]}" for peer in peers]
    lines = ["| work | figure | " + " | ".join(titles) + " |"]
    lines += ["|---|---|" + "---|" * len(titles)]
    for scenario in options.scenarios:
        of = lambda server: results.get((scenario, server), [])
        for title, digits, path in figures(scenario):
            cells = [cell(of(server), digits, path) for server in columns]
            cells += [ratio(of(ours), of(peer), path) for peer in peers]
            lines.append(f"| {describe(scenario)} | {title} | " + " | ".join(cells) + " |")
    parts = ["\n".join(lines), goals(results), *notes(results, options, found, minutes, failures)]
    return "\n\n".join(part for part in parts if part)


def notes(results, options, found, minutes, failures):
    many = options.rounds > 1
    yield f"{datetime.date.today()}, {machine()}. {found}. `{command_line('benches/compare')}`, {minutes:.0f} minutes."
    yield (
        f"{'Median (least – most)' if many else 'One value'} of {options.rounds} "
        f"round{'s' if many else ''}, {options.seconds} s each; server and generator on a core each. "
        "Chat, and direct with 100 B, ran three times a round. "
        "CPU is user and system time of the server's processes, and includes the publish requests; "
        "bytes are PSS: parked and after a message of the second half of the polls, when the first half has filled "
        "what the server had left over from its start; after all left, over what it took before the first client. "
        "Deliveries/s are noisy where others use the machine; CPU per delivery is less so."
    )
    if options.bayeux:
        yield (
            "Everything goes over Bayeux, by long-polling: clients shake hands, subscribe to one channel (for a "
            "broadcast the same, otherwise each its own) and connect again and again; other clients publish. "
            f"The load runs for {BAYEUX_WARMUP_S} s before it is measured."
        )
    if needs_peers(options.servers) and any(name.startswith("park") for name in options.scenarios):
        yield "While memory is measured Node.js is made to collect its garbage twice a second, which it would not by itself."
    if "bound" in options.servers:
        yield (
            "The raw epoll bound (benches/bound) is no server: it is what one receive and one send "
            "in an epoll loop cost, with next to nothing between them."
        )
    if any(map(over_h2, options.scenarios)):
        yield f"Over HTTP/2, {output(['nghttpx', '--version'])} brings the generator's requests to the server as streams."
    if "nchan" in options.servers and "waiting" in options.scenarios:
        yield "nchan as it comes answers a poll with one message, however many wait; tuned, with all."
    shares = [s for reports in results.values() for s in values(reports, ("load", "generator_cpu_share"))]
    if shares:
        limit = f" Where it took more than {BUSY} (†) it is the limit: that rate says nothing about the server."
        yield f"The generator took at most {max(shares):.2f} of its core.{limit if max(shares) > BUSY else ''}"
    late = [us for reports in results.values() for us in values(reports, ("load", "lateness_us", "p99"))]
    if late:
        yield (
            f"At a fixed rate publishes went out up to {number(max(late), 0)} µs late (p99), which is in "
            "the latencies: the generator was off its core, or all its connections waited for the server."
        )
    times = collections.Counter(failures)
    yield from (f"Failed{f' {count} times' if count > 1 else ''}: {failure}." for failure, count in times.items())
    if any(failure.startswith("direct-16k, nchan:") for failure in failures):
        yield (
            "What does not fit into nginx's buffer for a body comes to nchan in a file, and at 16 KB its log then says "
            "`can't create output chain, file in buffer won't open`: the message is lost. Tuned, the buffer is larger."
        )


def cell(reports, digits, path):
    if not reports:
        return "–"
    found = values(reports, path)
    if len(found) < len(reports):
        return "failed"
    median = number(statistics.median(found), digits)
    mark = " †" if is_limited(reports, path) else ""
    if len(found) == 1:
        return median + mark
    return f"**{median}** ({number(min(found), digits)} – {number(max(found), digits)}){mark}"


def is_limited(reports, path):
    """Whether it is the generator's rate, not the server's."""
    return path == RATE[2] and any(share > BUSY for share in values(reports, ("load", "generator_cpu_share")))


def ratio(ours, theirs, path):
    if is_limited(ours, path) or is_limited(theirs, path):
        return "–"
    try:
        found = quotient(ours, theirs, path)
    except Failed:
        found = None
    return "–" if found is None else f"{found:.2f}"


def machine():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    load = os.getloadavg()[0]
    model = models[0] if models else platform.machine()
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, load average at the end {load:.1f}"
