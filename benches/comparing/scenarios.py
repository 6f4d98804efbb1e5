"""What is run, on which servers, and which figures are shown."""

SERVERS = {
    "cometbox": "Cometbox",
    "nchan": "nchan",
    "nchan-tuned": "nchan tuned",
    "bound": "raw epoll bound",
}
# Those that are compared over Bayeux, in a table of their own.
BAYEUX = {
    "cometbox-bayeux": "Cometbox",
    "faye": "Faye",
    "cometd": "CometD for Node.js",
}
NAMES = SERVERS | BAYEUX
NATIVE = list(SERVERS)
ALL = list(NAMES)

# Name: the generator's arguments, and the servers that can do it. Who is
# compared runs next to each other, for others use the machine, too.
SCENARIOS = {
    "broadcast-100": (["broadcast", "100"], ALL),
    "broadcast-1000": (["broadcast", "1000"], ALL),
    "broadcast-10000": (["broadcast", "10000"], NATIVE),
    "direct": (["direct"], ALL),
    "direct-idle": (["direct", "--idle", "99000"], ["cometbox", "bound"]),
    "direct-2000": (["direct", "--rate", "2000"], ALL),
    "direct-10000": (["direct", "--rate", "10000"], NATIVE),
    "direct-1k": (["direct", "--payload", "1024"], NATIVE),
    "direct-16k": (["direct", "--payload", "16384"], NATIVE),
    "direct-64k": (["direct", "--payload", "65536"], NATIVE),
    "waiting": (["waiting"], NATIVE),
    "groups-100": (["groups", "100"], NATIVE),
    "groups-1000": (["groups", "1000"], ["cometbox"]),
    "groups-10000": (["groups", "10000"], ["cometbox"]),
    "chat": (["chat"], NATIVE),
    "share-direct": (["direct", "--against", "open"], ["cometbox"]),
    "share-events": (["events", "--against", "open"], ["cometbox"]),
    "park-2000": (["park", "2000"], ALL),
    "park-10000": (["park", "10000"], ALL),
    "park-18000": (["park", "18000"], NATIVE),
    "park-h2-4000": (["park", "4000"], ["cometbox", "nchan", "nchan-tuned"]),
}
# Run so many times a round: at a fixed rate the 99th percentile of one run is a
# few moments of it, and chance; direct and chat are where the goals are near.
TIMES = dict.fromkeys(["direct", "direct-2000", "direct-10000", "chat"], 3)
QUICK = ["broadcast-1000", "direct", "direct-2000", "direct-10000", "waiting", "chat", "share-events", "park-2000"]
FULL = [name for name in SCENARIOS if name != "park-2000"]
BAYEUX_QUICK = ["broadcast-1000", "direct", "park-2000"]
BAYEUX_FULL = ["broadcast-100", "broadcast-1000", "direct", "direct-2000", "park-10000"]

WORK = {
    "broadcast": "broadcast: one group of {}",
    "direct": "direct: 1 000 mailboxes, 64 in flight, 100 B each",
    "direct-2000": "direct: 1 000 mailboxes, 2 000/s",
    "direct-10000": "direct: 1 000 mailboxes, 10 000/s",
    "direct-1k": "direct: 1 KB each",
    "direct-16k": "direct: 16 KB each",
    "direct-64k": "direct: 64 KB each",
    "direct-idle": "direct: beside 99 000 mailboxes that nobody reads",
    "waiting": "waiting: one group of 1 000, 10 messages for each poll",
    "groups": "groups: {} of 10 members, 1 000 mailboxes, 64 in flight",
    "chat": "chat: 20 rooms of 50",
    "share-direct": "direct, in turn with a plugin that sleeps",
    "share-events": "publishes to nobody, 100 in a request, in turn with a plugin that sleeps",
    "park": "park: {} parked polls",
    "park-h2-4000": "park: 4 000 parked polls over HTTP/2 and TLS, a hundred a connection",
}

# Title, digits, and where it is in the generator's report.
CPU = ("server CPU per delivery, µs", 2, ("load", "server_cpu_us_per_delivery"))
EVENT = ("server CPU per event, µs", 2, ("share", "event_us"))
SHARE = ("… of that the plugin's", 2, ("share", "share_us"))
RATE = ("deliveries/s", 0, ("load", "deliveries_per_second"))
P50 = ("latency p50, µs", 0, ("load", "latency_us", "p50"))
P99 = ("latency p99, µs", 0, ("load", "latency_us", "p99"))
PARKED = ("bytes per poll", 0, ("memory", "parked"))
AFTER = ("… after a message", 0, ("memory", "after_a_message"))
LEFT = ("… after all left", 0, ("memory", "after_leaving"))


def over_h2(scenario):
    return "-h2-" in scenario


def figures(scenario):
    if scenario.startswith("park"):
        return [PARKED, AFTER, LEFT]
    if scenario.startswith("share"):
        return [EVENT, SHARE]
    return [CPU, P50, P99] if scenario in ("direct-2000", "direct-10000") else [CPU, RATE]


def describe(scenario):
    kind, _, size = scenario.partition("-")
    text = WORK.get(scenario) or WORK[kind]
    return text.format(number(int(size), 0) if size.isdigit() else "")


def number(value, digits):
    return f"{value:,.{digits}f}".replace(",", " ")
