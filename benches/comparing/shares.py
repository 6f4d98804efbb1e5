"""What part of the samples of each flame graph is what, into docs/performance.md."""

import html
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from comparing.report import write

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GRAPHS = {"broadcast": "broadcast to 1 000", "direct": "direct, 64 in flight", "chat": "chat"}

# What, the frames that it is made of, and those in them that are not it.
# Compiled plugins break the stacks: what runs in them stands beside what called them.
PLUGIN = r"^<cometbox::plugin::wasm::pool::WasmPlugin as .*::call$|^plugin$"
PARTS = [
    ("in the kernel", r"^entry_SYSCALL|^asm_|^ret_from_fork", None),
    ("`send`: the whole way through TCP to the client's socket", r"^__x64_sys_sendto$", None),
    ("`recv`", r"^__x64_sys_recvfrom$", None),
    ("`epoll_pwait`: waiting, and being woken", r"^__x64_sys_epoll_pwait$", None),
    ("finding where a request ends", r"^cometbox::server::front::head::frame$", None),
    ("reading what a publish or a message says", r"::decode_\w+$|serde_json::(de|read)", PLUGIN),
    ("the read in the app: look-up, confirm, hold", r"^cometbox::app::(App|\w+::<impl .*App>)::poll$", None),
    ("the publish or message in the app, plugin not included", r"^cometbox::app::(App|\w+::<impl .*App>)::(publish|message)$", PLUGIN),
    ("the plugin: its code, and the way in and out", PLUGIN, None),
    ("the clock that bounds its time, a thread", r"^plugin-clock$", r"^asm_"),
]


def frames(graph):
    """Names and places, and how wide all together are."""
    text = (ROOT / "docs" / "images" / f"flame-{graph}.svg").read_text()
    found = re.findall(r'<title>([^<]*) \([^<]*</title><rect[^>]*fg:x="(\d+)" fg:w="(\d+)"', text)
    return [(html.unescape(name), int(x), int(x) + int(w)) for name, x, w in found], int(
        re.search(r'total_samples="(\d+)"', text)[1]
    )


def places(all_frames, pattern):
    """Where frames of such names are, those in others left out."""
    merged = []
    for start, end in sorted((start, end) for name, start, end in all_frames if re.search(pattern, name)):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


def overlap(some, others):
    return sum(max(0, min(end, b) - max(start, a)) for start, end in some for a, b in others)


def share(graph, pattern, but):
    all_frames, total = graph
    found = places(all_frames, pattern)
    width = sum(end - start for start, end in found)
    return 100 * (width - (overlap(found, places(all_frames, but)) if but else 0)) / total


def main():
    graphs = {title: frames(graph) for graph, title in GRAPHS.items()}
    lines = ["| | " + " | ".join(graphs) + " |", "|---|" + "---|" * len(graphs)]
    for title, pattern, but in PARTS:
        shares = [share(graph, pattern, but) for graph in graphs.values()]
        lines.append(f"| {title} | " + " | ".join(f"{each:.1f} %" if each else "–" for each in shares) + " |")
    text = "\n".join(lines)
    print(text)
    write(ROOT / "docs" / "performance.md", text, "benches/profile")


if __name__ == "__main__":
    main()
