"""A gateway whose mailboxes are kept, or are not: its life, and what it takes."""

import contextlib
import json
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from comparing.servers import KEY, ROOT, free_port

# A start is given up after so long, and so is an end.
MAX_START_S = 120
MAX_END_S = 120


class Gateway:
    """A running `cometbox serve` with one app, `bench`; it ends with its block.

    Its store is in `folder`; with durability "memory" it has none. A later one
    with the same folder goes on from there.
    """

    def __init__(self, cometbox, folder, durability, core):
        self.folder = pathlib.Path(folder)
        self.port, self.admin = free_port(), free_port()
        config = self.folder / "cometbox.toml"
        config.write_text(self.config(durability))
        self.log = open(self.folder / "log", "a+")
        command = ["taskset", "-c", str(core), str(cometbox), "serve", "--config", str(config)]
        started = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.pid = self.process.pid  # taskset becomes what it starts
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        self.start_s = time.monotonic() - started

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end()
        self.log.close()

    def config(self, durability):
        store = "" if durability == "memory" else f"[store]\npath = {json.dumps(str(self.folder / 'store'))}\n"
        kept = "" if durability == "memory" else f'durability = "{durability}"\n'
        plugin = json.dumps(str(ROOT / "benches/plugin"))
        return (
            f'listen = "127.0.0.1:{self.port}"\nadmin = "127.0.0.1:{self.admin}"\n{store}'
            f'[[app]]\nname = "bench"\nplugins = [{plugin}]\npublish_keys = ["{KEY}"]\n{kept}'
        )

    def wait_until_it_answers(self):
        """It listens before its plugins are there: what counts is an answer."""
        end = time.monotonic() + MAX_START_S
        request = b"GET /bench/mailboxes/nobody?wait=0&key=0 HTTP/1.1\r\nHost: bench\r\n\r\n"
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(MAX_START_S)
                probe.sendall(request)
                if probe.recv(100).startswith(b"HTTP/1.1 4"):
                    return
            time.sleep(0.005)
        self.log.seek(0)
        sys.exit(f"the gateway does not start:\n{self.log.read()}")

    def end(self):
        """Ends it in order; how many seconds that took."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(MAX_END_S)
        return time.monotonic() - started

    def kill(self):
        self.process.kill()
        self.process.wait()

    def metric(self, name):
        """The value of a metric of the app."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f'cometbox_{name}{{app="bench"}} '):
                    return int(line.rsplit(" ", 1)[1])
        sys.exit(f"there is no metric cometbox_{name}")

    def memory_bytes(self):
        """Now: the proportional set size; and the most that was resident so far."""
        rollup = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return kib(rollup, "Pss:"), kib(status, "VmHWM:")

    def file_bytes(self):
        """Of the store's file, and of its log."""
        size = lambda path: path.stat().st_size if path.exists() else 0
        file = self.folder / "store" / "bench.sqlite"
        return size(file), size(file.with_name("bench.sqlite-wal"))


def kib(text, name):
    line = next(line for line in text.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def load(programs, gateway, core, *work, seconds, warmup=1):
    """The generator, started: it runs the work on the gateway."""
    command = ["taskset", "-c", str(core), str(programs["cometbox-load"])]
    command += ["--server", f"127.0.0.1:{gateway.port}", "--server-pid", str(gateway.pid)]
    command += ["--publish-key", KEY, "--seconds", str(seconds), "--warmup", str(warmup), *map(str, work)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report(running):
    """What it has found; it has `why` if it failed."""
    out, said = running.communicate()
    print("  " + said.strip(), file=sys.stderr)
    try:
        found = json.loads(out)
    except ValueError:
        found = {"ok": False}
    if not found["ok"]:
        found["why"] = " ".join(said.split("FAILED:")[-1].split())
    return found


class Client:
    """One connection, for what is not measured."""

    def __init__(self, gateway):
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), 60)
        self.answers = self.socket.makefile("rb")

    def close(self):
        self.answers.close()
        self.socket.close()

    def ask(self, *requests):
        """Sends all, then reads the answers: pairs of status and body."""
        self.socket.sendall(b"".join(requests))
        return [self.answer() for _ in requests]

    def answer(self):
        status = int(self.answers.readline().split(b" ", 2)[1])
        length = 0
        while (line := self.answers.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self.answers.read(length)


def request(method, path, body=b"", key=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/json\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
    return head.encode() + b"\r\n" + body


def open_request(name, linger_ms):
    return request("POST", "/bench/mailboxes", json.dumps({"name": name, "linger_ms": linger_ms}).encode())


def publish_request(items):
    return request("POST", "/bench/publish", json.dumps(items).encode(), KEY)
