"""How long a gateway with much in its store takes to start, and its memory."""

import sys
import tempfile
import time

from comparing.scenarios import number

from .gateway import Client, Gateway, load, open_request, publish_request

PAYLOAD_BYTES = 100
LINGER_MS = 3_600_000
OPENS_AT_ONCE = 100
ITEMS_AT_ONCE = 1000

# Until the allocator has given back what the start took.
REST_S = 15
# How long the load runs that is killed.
LOAD_S = 4

# A start that takes longer than this, for each million messages, has failed; and one that needs more memory
# at any moment than so many times what is held REST_S later.
MAX_SECONDS_PER_MILLION = 10
MAX_PEAK = 1.4


def measure(programs, options, cores, folder):
    mailboxes, each = options.mailboxes, options.waiting
    rows, failures = [], []
    with tempfile.TemporaryDirectory(prefix="store-", dir=folder) as place:
        start = lambda durability: Gateway(programs["cometbox"], place, durability, cores[0])
        with start("none") as gateway:
            print("recovery: an empty store", file=sys.stderr)
            rows.append(row("nothing", gateway)[0])
            print(f"recovery: {mailboxes} mailboxes with {each} messages each", file=sys.stderr)
            fill(gateway, mailboxes, each)
            end_s = gateway.end()
        with start("os") as gateway:
            found, failed = row("after an orderly stop", gateway)
            rows.append(found)
            failures += failed + check(gateway, mailboxes, each)
            # It dies while it is busy.
            running = load(programs, gateway, cores[1], "publish", seconds=60)
            time.sleep(LOAD_S)
            gateway.kill()
            running.kill()
            running.communicate()
        with start("os") as gateway:
            found, failed = row("after `kill -9` at full load", gateway)
            rows.append(found)
            failures += failed + check(gateway, mailboxes, each)
    return "\n\n".join([table(rows), note(mailboxes, each, end_s)]), failures


def fill(gateway, mailboxes, each):
    client = Client(gateway)
    names = [f"kept-{nth}" for nth in range(mailboxes)]
    for begin in range(0, mailboxes, OPENS_AT_ONCE):
        opens = [open_request(name, LINGER_MS) for name in names[begin : begin + OPENS_AT_ONCE]]
        for status, body in client.ask(*opens):
            if status != 201:
                sys.exit(f"an open got {status}: {body.decode()}")
    payload = "." * PAYLOAD_BYTES
    for _ in range(each):
        for begin in range(0, mailboxes, ITEMS_AT_ONCE):
            to = names[begin : begin + ITEMS_AT_ONCE]
            publish(client, [{"to": {"mailboxes": [name]}, "data": payload} for name in to])
    client.close()


def publish(client, items):
    while True:
        [(status, body)] = client.ask(publish_request(items))
        if status == 200:
            return
        # More came than is written: nothing of the batch was taken.
        if status != 507:
            sys.exit(f"a publish got {status}: {body.decode()}")
        time.sleep(0.05)


def row(title, gateway):
    """Its line of the table, and what of it is over a bound."""
    file, log = gateway.file_bytes()
    now, most = gateway.memory_bytes()
    messages = gateway.metric("queued_messages")
    if messages:
        time.sleep(REST_S)
    later, _ = gateway.memory_bytes()
    mib = lambda size: number(size / 2**20, 0)
    values = [number(messages, 0), f"{gateway.start_s:.2f}", mib(most), mib(now), mib(later), mib(file), mib(log)]
    failures = []
    if messages and gateway.start_s > MAX_SECONDS_PER_MILLION * max(messages, 1e6) / 1e6:
        failures.append(f"recovery: a start {title} took {gateway.start_s:.1f} s")
    if messages and most > MAX_PEAK * later:
        failures.append(f"recovery: a start {title} needed {mib(most)} MiB, of which {mib(later)} MiB stayed")
    return f"| {title} | " + " | ".join(values) + " |", failures


def check(gateway, mailboxes, each):
    """That all is there that must be; what the load left comes on top."""
    found, messages = gateway.metric("mailboxes"), gateway.metric("queued_messages")
    if found < mailboxes or messages < mailboxes * each:
        return [f"recovery: {found} mailboxes with {messages} messages are there"]
    return []


def table(rows):
    titles = ["start", "messages", "s to the first answer", "peak, MiB", "then, MiB", f"{REST_S} s later, MiB"]
    titles += ["file, MiB", "log, MiB"]
    return "\n".join(["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|", *rows])


def note(mailboxes, each, end_s):
    return (
        f"{number(mailboxes, 0)} mailboxes with {each} waiting messages of {PAYLOAD_BYTES} B each; the server on one "
        "core. A start lasts from the command until a request gets its answer, plugins included. The peak is what was "
        "resident at most (VmHWM), the rest PSS; later jemalloc has given back what only the start took. The log is "
        f"what the process before left. A start of more than {MAX_SECONDS_PER_MILLION} s for a million messages, or "
        f"with a peak of more than {MAX_PEAK} times what is held {REST_S} s later, fails the run. An orderly stop of "
        f"the full gateway took {end_s:.1f} s, with what was still to be written."
    )
