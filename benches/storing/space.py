"""Whether space is given back: the size of the store under a constant load, and
after a pile of messages has gone."""

import contextlib
import sys
import tempfile
import threading
import time

from comparing.scenarios import number

from .gateway import Client, Gateway, load, open_request, publish_request, report, request
from .plot import svg

import json

# Read and confirmed, by the generator.
RATE = 2000
# Ten times a second, beside it: messages that expire unread, and mailboxes that
# open, get some messages, and then are closed or, every other one, expire.
BEAT_S = 0.1
EXPIRING_AT_ONCE, TTL_MS = 20, 5000
OPENED_AT_ONCE, LINGER_MS, EACH = 2, 3000, 5
CLOSED_AFTER_S = 2

# The pile: so many messages in mailboxes that nobody reads, until they are closed.
PILE_MAILBOXES, PILE_EACH = 200, 500
PILE_S = 20
SETTLE_S = 30

PAYLOAD = "." * 100
# Keeps what nobody reads for as long as this runs.
LONG_LINGER_MS = 3_600_000


def measure(programs, options, cores, folder, image):
    constant_s = int(options.minutes * 60)
    seconds = constant_s + PILE_S + SETTLE_S
    with tempfile.TemporaryDirectory(prefix="store-", dir=folder) as place:
        with Gateway(programs["cometbox"], place, "os", cores[0]) as gateway:
            print(f"space: {seconds} s of load", file=sys.stderr)
            running = load(programs, gateway, cores[1], "publish", "--rate", RATE, seconds=seconds)
            samples, piled = watch(gateway, constant_s, seconds)
            found = report(running)
            expired, closed = gateway.metric("messages_expired_total"), gateway.metric("mailboxes_closed_total")
    failures = [] if found["ok"] else [f"space: {found['why']}"]
    image.write_text(plot(samples, piled))
    return "\n\n".join(notes(samples, piled, constant_s, expired, closed)), failures


def watch(gateway, constant_s, seconds):
    """Sizes each second: (s, file, log); and when the pile came and went."""
    over, samples, piled = threading.Event(), [], []
    beside = threading.Thread(target=come_and_go, args=(gateway, over), daemon=True)
    beside.start()
    started, pile = time.monotonic(), None
    for second in range(seconds):
        time.sleep(max(0, started + second - time.monotonic()))
        samples.append((second, *gateway.file_bytes()))
        if second == constant_s:
            pile = pile_up(gateway)
            piled.append(time.monotonic() - started)
        if second == constant_s + PILE_S:
            clear(gateway, pile)
            piled.append(time.monotonic() - started)
        if not beside.is_alive():
            sys.exit("the load beside the generator has failed")
    over.set()
    beside.join()
    return samples, piled


def come_and_go(gateway, over):
    client, opened, nth = Client(gateway), [], 0
    expiring = [f"expiring-{number}" for number in range(10)]
    ask(client, 201, *(open_request(name, LONG_LINGER_MS) for name in expiring))
    while not over.wait(BEAT_S):
        items = [
            {"to": {"mailboxes": [expiring[at % len(expiring)]]}, "data": PAYLOAD, "ttl_ms": TTL_MS}
            for at in range(EXPIRING_AT_ONCE)
        ]
        names = [f"passing-{nth + at}" for at in range(OPENED_AT_ONCE)]
        nth += OPENED_AT_ONCE
        bodies = ask(client, 201, *(open_request(name, LINGER_MS) for name in names))
        items += [{"to": {"mailboxes": [name]}, "data": PAYLOAD} for name in names for _ in range(EACH)]
        ask(client, 200, publish_request(items))
        # The others expire by themselves.
        opened.append((time.monotonic(), names[0], json.loads(bodies[0])["key"]))
        while opened and opened[0][0] < time.monotonic() - CLOSED_AFTER_S:
            _, name, key = opened.pop(0)
            ask(client, 204, request("DELETE", f"/bench/mailboxes/{name}", key=key))
    client.close()


def pile_up(gateway):
    """Fills mailboxes; their names and keys."""
    client, names = Client(gateway), [f"pile-{number}" for number in range(PILE_MAILBOXES)]
    bodies = ask(client, 201, *(open_request(name, LONG_LINGER_MS) for name in names))
    for _ in range(PILE_EACH):
        ask(client, 200, publish_request([{"to": {"mailboxes": [name]}, "data": PAYLOAD} for name in names]))
    client.close()
    return [(name, json.loads(body)["key"]) for name, body in zip(names, bodies)]


def clear(gateway, pile):
    client = Client(gateway)
    ask(client, 204, *(request("DELETE", f"/bench/mailboxes/{name}", key=key) for name, key in pile))
    client.close()


def ask(client, expected, *requests):
    """The bodies of the answers."""
    answers = client.ask(*requests)
    for status, body in answers:
        if status != expected:
            raise RuntimeError(f"got {status}: {body.decode()}")
    return [body for _, body in answers]


def plot(samples, piled):
    mib = lambda column: [(sample[0], sample[column] / 2**20) for sample in samples]
    pile = f"{number(PILE_MAILBOXES * PILE_EACH, 0)} more wait"
    marks = list(zip([pile, "they go"], piled))
    title = "Size of the store under a constant load"
    return svg(title, "seconds", "MiB", [("file (.sqlite)", mib(1)), ("log (-wal)", mib(2))], marks)


def notes(samples, piled, constant_s, expired, closed):
    """`piled`: when the pile was there, and when it was gone."""

    def span(column, chosen):
        sizes = [sample[column] / 2**20 for sample in samples if chosen(sample[0])]
        return f"{min(sizes):.1f} – {max(sizes):.1f} MiB"

    second_half = lambda second: constant_s / 2 <= second <= constant_s
    with_pile = lambda second: piled[0] < second <= piled[1]
    at_the_end = lambda second: second > samples[-1][0] - 5
    yield (
        f"{number(RATE, 0)} messages of 100 B a second to 256 mailboxes, read and confirmed; beside them each second "
        f"{round(EXPIRING_AT_ONCE / BEAT_S)} that expire unread after {TTL_MS // 1000} s, and "
        f"{round(OPENED_AT_ONCE / BEAT_S)} mailboxes that open, get {EACH} messages, and are closed or expire some "
        f"seconds later ({number(expired, 0)} messages and {number(closed, 0)} mailboxes went so). "
        'Durability `"os"`.'
    )
    yield (
        f"The file: {span(1, second_half)} in the second half of {constant_s} s, {span(1, with_pile)} with "
        f"{number(PILE_MAILBOXES * PILE_EACH, 0)} messages more, {span(1, at_the_end)} half a minute after they went. "
        f"The log: {span(2, second_half)}, {span(2, with_pile)} and {span(2, at_the_end)}; it is written from its "
        "start again each time it was carried into the file, and keeps the size it once had, up to 16 MiB."
    )
