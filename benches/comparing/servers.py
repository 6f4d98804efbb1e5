"""The servers: how they are installed, built, configured, started and measured."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import h2
from .scenarios import BAYEUX, NAMES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEY = "bench-only-key"

# The servers for Node.js, and how long they run before they are measured: until
# it has compiled what it runs often.
PEERS = ROOT / "benches" / "comparing" / "bayeux"
BAYEUX_WARMUP_S = 3

# nginx at its best: pools as small as these requests allow.
TUNED = "connection_pool_size 256; request_pool_size 512; client_header_buffer_size 512;"
# For large messages: a publish that does not fit into its buffer goes through a
# file, and the last ten of each channel are kept in shared memory, of which the
# 128 MB of the default are too few.
TUNED_LARGE = "client_body_buffer_size 128k; nchan_shared_memory_size 1G;"
# For messages that wait: all of them in an answer.
TUNED_WAITING = "nchan_longpoll_multipart_response raw;"

# What the apps of a Cometbox run.
PLUGINS = {
    "cometbox": {"bench": "benches/plugin", "open": "benches/plugin-open", "chat": "plugins/chat"},
    "cometbox-bayeux": {"bench": "plugins/bayeux-open"},
}


def install_nchan():
    module = pathlib.Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
    if shutil.which("nginx") and module.exists():
        return
    # The package starts a server of its own, which nobody asked for here.
    fresh = not shutil.which("nginx")
    debian_install("nginx with nchan", ["nginx", "libnginx-mod-nchan"])
    if fresh and shutil.which("systemctl"):
        subprocess.run(["systemctl", "disable", "--now", "nginx"], check=False, stderr=subprocess.DEVNULL)


def install_peers():
    """Faye and CometD's server, in the versions of the lock file."""
    if not (shutil.which("node") and shutil.which("npm")):
        debian_install("Node.js with npm", ["nodejs", "npm"])
    locked, installed = PEERS / "package-lock.json", PEERS / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= locked.stat().st_mtime:
        return
    command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, cwd=PEERS, check=True, stdout=sys.stderr)


def needs_peers(servers):
    return any(server in BAYEUX and server not in PLUGINS for server in servers)


def debian_install(what, packages):
    if not shutil.which("apt-get") or os.geteuid() != 0:
        sys.exit(f"{what} is missing: as root on Debian it is installed, or leave it out by --servers")
    print(f"installing {what}", file=sys.stderr)
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=sys.stderr)
    install = ["apt-get", "install", "-qy", "--no-install-recommends", *packages]
    subprocess.run(install, check=True, stdout=sys.stderr, env=quiet)


def build(given, servers):
    """The programs by their names, those that were given or built now, and the
    components next to their crates."""
    wanted = {"cometbox-load"}
    plugins = [plugin for server in servers for plugin in PLUGINS.get(server, {}).values()]
    wanted |= {"cometbox"} if plugins else set()
    wanted |= {"cometbox-bound"} if "bound" in servers else set()
    if not all(given.get(crate) for crate in wanted):
        # The whole workspace, as the tests build it: parts of it have other
        # features, and wasmtime would be compiled once more.
        subprocess.run(["cargo", "build", "--release", "--locked", "--workspace"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    built = ROOT / target / "release"  # an absolute target stays one
    programs = {crate: pathlib.Path(given.get(crate) or built / crate).resolve() for crate in wanted}
    for plugin in plugins:
        command = [programs["cometbox"], "build", plugin]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    return programs


class Running:
    """A server, from its start to its end."""

    def __init__(self, server, programs, work, core, over_h2=False):
        self.server, self.programs, self.work, self.core, self.over_h2 = server, programs, work, core, over_h2

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="cometbox-compare-")
        folder = pathlib.Path(self.folder.name)
        self.port = free_port()
        tls = h2.certificate(folder) if self.over_h2 else None
        if self.server in PLUGINS:
            config = folder / "cometbox.toml"
            config.write_text(cometbox_config(self.port, PLUGINS[self.server], tls))
            command = [self.programs["cometbox"], "serve", "--config", config]
        elif self.server == "bound":
            command = [self.programs["cometbox-bound"], self.port]
        elif self.server in BAYEUX:
            # By itself it collects garbage when it likes: memory would be a matter of luck.
            flags = ["--expose-gc"] if self.work[0] == "park" else []
            command = ["node", *flags, PEERS / f"{self.server}.js", self.port]
        else:
            config = folder / "nginx.conf"
            config.write_text(nginx_config(self.port, folder, self.tuned(), tls))
            command = ["nginx", "-c", config, "-e", folder / "error.log"]
        self.log = open(folder / "log", "w+")
        command = ["taskset", "-c", str(self.core), *map(str, command)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.pid = self.process.pid  # taskset becomes what it starts
        try:
            wait_for(self.port, self.process, NAMES[self.server], self.log)
        except BaseException:
            self.__exit__()
            raise
        return self

    def tuned(self):
        """What nginx has in its configuration, and what for reads."""
        if self.server != "nchan-tuned":
            return "", ""
        large = TUNED_LARGE if "--payload" in self.work else ""
        return f"{TUNED} {large}", TUNED_WAITING if self.work[0] == "waiting" else ""

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.folder.cleanup()


def wait_for(port, process, name, log=None):
    """Until the process listens."""
    end = time.time() + 30
    while time.time() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    if log:
        log.seek(0)
    sys.exit(f"{name} does not start:\n{log.read() if log else ''}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cometbox_config(port, plugins, tls):
    app = '[[app]]\nname = "{}"\nplugins = [{}]\npublish_keys = ["{}"]\n'
    folder = lambda path: json.dumps(str(ROOT / path))
    apps = [app.format(name, folder(plugin), KEY) for name, plugin in plugins.items()]
    listen = f'listen = "127.0.0.1:{port}"\n'
    if tls:
        listen = f'listen = ""\ntls = {{ {listen.strip()}, certificate = "{tls[0]}", key = "{tls[1]}" }}\n'
    return f'{listen}admin = ""\n' + "".join(apps)


def nginx_config(port, folder, tuned, tls):
    tuned, tuned_read = tuned
    over_tls = f"ssl http2; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}" if tls else ""
    # Beside the pools, only what keeps nginx from closing the connections of
    # the test, and room for as many.
    return f"""
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 19500; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    {tuned}
    server {{
        listen 127.0.0.1:{port} {over_tls};
        location = /ready {{ return 204; }}
        location ~ ^/sub/(.+)$ {{ nchan_subscriber longpoll; nchan_channel_id $1; {tuned_read} }}
        location ~ ^/pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; }}
    }}
}}
"""


def measure(programs, running, server, work, seconds, core):
    """One run: the generator's report, which has `why` if it failed."""
    if running.over_h2:
        with h2.bridge(running.port, core) as port:
            return generate(programs, running, port, server, work, seconds, core)
    return generate(programs, running, running.port, server, work, seconds, core)


def generate(programs, running, port, server, work, seconds, core):
    dialect = "bayeux" if server in BAYEUX else "nchan" if server.startswith("nchan") else "cometbox"
    command = ["taskset", "-c", str(core), str(programs["cometbox-load"]), "--dialect", dialect]
    command += ["--server", f"127.0.0.1:{port}", "--server-pid", str(running.pid)]
    command += ["--publish-key", KEY, "--seconds", str(seconds)]
    if server in BAYEUX:
        command += ["--warmup", str(BAYEUX_WARMUP_S)]
    if work[0] == "chat":
        command += ["--app", "chat"]
    if work[0] == "park" and server not in PLUGINS:
        # The others give nothing back by themselves: there is nothing to wait for.
        work = [*work, "--settle", "2"]
    try:
        done = subprocess.run(command + work, capture_output=True, text=True, timeout=seconds + 300)
    except subprocess.TimeoutExpired:
        return {"ok": False, "why": "the generator did not end"}
    print("  " + done.stderr.strip(), file=sys.stderr)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {"ok": False}
    if not report["ok"]:
        report["why"] = " ".join(done.stderr.split("FAILED:")[-1].split())
    return report


def versions(programs, servers, given):
    parts = []
    if "cometbox" in programs:
        # Of a program that was given only its version is known.
        commit = "" if given.get("cometbox") else output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
        version = output([str(programs["cometbox"]), "--version"])
        parts.append(f"{version} ({commit})" if commit else version)
    if any(server.startswith("nchan") for server in servers):
        parts.append(output(["nginx", "-v"]).replace("nginx version: ", ""))
        parts.append("nchan " + output(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"]))
    if needs_peers(servers):
        parts.append("Node.js " + output(["node", "--version"]))
        peers = json.loads((PEERS / "package.json").read_text())["dependencies"]
        parts += [f"{name} {version}" for name, version in peers.items()]
    return ", ".join(parts)


def output(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""
