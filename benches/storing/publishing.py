"""What a publish costs, and how long its answer takes, by durability."""

import os
import statistics
import sys
import tempfile
import time

from comparing.numbers import Failed, quotient, values
from comparing.scenarios import number
from comparing.tables import cell

from .gateway import Gateway, load, report

DURABILITIES = {
    "memory": "no `[store]`",
    "none": '`"none"`',
    "os": '`"os"`',
    "disk": '`"disk"`',
}
# Name: what it says, and the generator's arguments.
WORK = {
    "1": ("1 publisher", ["--publishers", "1"]),
    "16": ("16 publishers", ["--publishers", "16"]),
    "256": ("256 publishers", ["--publishers", "256"]),
    "16-read": ("16 publishers, reads are held", ["--publishers", "16", "--behind", "0"]),
}
# Title, digits, path in the report.
FIGURES = [
    ("publishes/s", 0, ("load", "rate")),
    ("answer p50, µs", 0, ("load", "answer_us", "p50")),
    ("answer p99, µs", 0, ("load", "answer_us", "p99")),
    ("server CPU per publish, µs", 1, ("load", "server_cpu_us_per_event")),
    ("bytes written per message", 0, ("load", "server_written_per_event")),
]
# Over these a ratio to the memory's says something.
RATIOS = FIGURES[:4]

# So many messages wait before the first is read and goes: they are all there
# before it is measured.
WARMUP_S = 2

PROBES = 200
PROBE_BYTES = 4096


def measure(programs, options, cores, folder):
    results, failures, probes = {}, [], []
    for round_number in range(options.rounds):
        probes += probe(folder)
        for work, (_, arguments) in WORK.items():
            for durability in DURABILITIES:
                print(f"round {round_number + 1}: {work}, {durability}", file=sys.stderr)
                found = one(programs, options, cores, folder, durability, arguments)
                results.setdefault((work, durability), []).append(found)
                if not found["ok"]:
                    failures.append(f"{work}, {durability}: {found['why']}")
    return "\n\n".join([table(results), *notes(results, options, probes)]), failures


def one(programs, options, cores, folder, durability, arguments):
    with tempfile.TemporaryDirectory(prefix="store-", dir=folder) as place:
        with Gateway(programs["cometbox"], place, durability, cores[0]) as gateway:
            running = load(
                programs, gateway, cores[1], "publish", *arguments, seconds=options.seconds, warmup=WARMUP_S
            )
            found = report(running)
    if found["ok"]:
        found["load"]["rate"] = found["load"]["events"] / found["load"]["seconds"]
    return found


def probe(folder):
    """What the disk alone takes: microseconds for a page and a sync each."""
    found = []
    with tempfile.TemporaryFile(dir=folder) as file:
        page = bytes(PROBE_BYTES)
        for _ in range(PROBES):
            started = time.perf_counter()
            os.write(file.fileno(), page)
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - started) * 1e6)
    return found


def table(results):
    titles = [*DURABILITIES.values(), *(f"{name} : memory" for name in list(DURABILITIES)[1:])]
    lines = ["| | figure | " + " | ".join(titles) + " |", "|---|---|" + "---|" * len(titles)]
    for work, (title, _) in WORK.items():
        of = lambda durability: results[work, durability]
        for name, digits, path in FIGURES:
            cells = [cell(of(durability), digits, path) for durability in DURABILITIES]
            for durability in list(DURABILITIES)[1:]:
                try:
                    found = quotient(of(durability), of("memory"), path) if (name, digits, path) in RATIOS else None
                except Failed:
                    found = None
                cells.append("–" if found is None else f"{found:.2f}")
            lines.append(f"| {title} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def notes(results, options, probes):
    many = options.rounds > 1
    syncs = statistics.quantiles(probes, n=100)
    yield (
        f"{'Median (least – most)' if many else 'One value'} of {options.rounds} round{'s' if many else ''}, "
        f"{options.seconds} s each after {WARMUP_S} s; server (with its writer) and generator "
        "on a core each. A publisher sends its next message, of 100 B and to one of 256 mailboxes, when the last one "
        "was answered. A mailbox is read by a long-poll each time four messages wait in it, which confirms those of "
        "the read before: a message is written, and goes some 2 000 messages later. Where reads are held many "
        "go before they are written, and then never are. Bytes written are those of /proc/PID/io, so of the log and of "
        "the file: a page that is written to again before it went to disk counts once, and what the file system "
        "writes for itself does not."
    )
    yield (
        f"Beside it, the disk alone: a write of 4 KiB and `fdatasync` takes {number(syncs[49], 0)} µs (p50), "
        f"{number(syncs[98], 0)} µs (p99)."
    )
    shares = [s for reports in results.values() for s in values(reports, ("load", "generator_cpu_share"))]
    if shares:
        limit = " Above 0.9 it is the limit: that rate says nothing about the server." if max(shares) > 0.9 else ""
        yield f"The generator took at most {max(shares):.2f} of its core.{limit}"
