"""Other embedded stores on what the gateway's store does, by benches/candidates."""

import subprocess
import sys

from comparing.servers import ROOT

CRATE = ROOT / "benches" / "candidates"
# The crates behind the columns, in their order.
CRATES = ["rusqlite", "fjall", "redb", "heed"]


def measure(options, folder):
    # Beside what the workspace builds: it has another lock file.
    target = ROOT / "target" / "candidates"
    build = ["cargo", "build", "--release", "--locked", "--manifest-path", CRATE / "Cargo.toml", "--target-dir", target]
    subprocess.run(build, check=True)
    rows = options.mailboxes * options.waiting
    command = [target / "release" / "cometbox-candidates", "--folder", folder, "--rows", rows]
    command += ["--rounds", options.rounds, "--seconds", options.seconds]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("the comparison failed")
    return "\n\n".join([done.stdout.strip(), note(options)]), []


def note(options):
    many = options.rounds > 1
    return (
        f"{'Median (least – most)' if many else 'One value'} of {options.rounds} round{'s' if many else ''}, "
        f"{options.seconds} s each; {', '.join(versions())} (LMDB). Each commit puts so many rows of 300 B and "
        "takes away as many old ones; 10 000 stay. Bytes written are those of /proc/PID/io: a page that is written to "
        "again before it went to disk counts once. The process before a start was killed."
    )


def versions():
    """As the crate's lock file has them."""
    lines = (CRATE / "Cargo.lock").read_text().splitlines()
    found = dict(zip(lines, lines[1:]))
    for crate in CRATES:
        version = found[f'name = "{crate}"'].removeprefix("version = ").strip('"')
        yield f"{crate} {version}"
