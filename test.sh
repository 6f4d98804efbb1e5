#!/usr/bin/env bash
# All tests: the Rust workspace, the clients, and the pages in a real browser;
# and that no operation on the way of a message has become dearer. Installs what
# they need: the wasm target, and on Debian (as root, or with sudo) a C compiler
# and make, iproute2, valgrind, Python's venv, Node.js and Chromium. With CI=true nothing is
# skipped; without it, what needs one of the last four is, where it is missing and
# cannot be installed. Autobahn's suite runs where there is a Python 2.7.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

debian_install() { # debian_install COMMAND PACKAGE...
    command -v "$1" >/dev/null && return 0
    shift
    command -v apt-get >/dev/null || return 1
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo=(sudo)
    fi
    step "installing $*"
    "${sudo[@]}" apt-get update -q >/dev/null
    "${sudo[@]}" apt-get install -qy --no-install-recommends "$@" >/dev/null
}

command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }

# jemalloc is C, built by make.
debian_install cc build-essential && debian_install make build-essential || {
    echo "a C compiler and make are needed (Debian: build-essential)" >&2
    exit 1
}

if ! rustup target list --installed 2>/dev/null | grep -q '^wasm32-unknown-unknown$'; then
    step "adding the wasm target"
    rustup target add wasm32-unknown-unknown
fi

# To cut the links of clients; without it, or without root, that is not tested.
debian_install ip iproute2 || true

step "the workspace: build"
cargo build --release --locked --workspace
step "the workspace: tests"
cargo test --release --locked --workspace

if debian_install valgrind valgrind; then
    step "instructions per operation, against the baseline"
    benches/steady check
elif [ "${CI:-}" = true ]; then
    echo "valgrind is needed and cannot be installed here" >&2
    exit 1
else
    echo "skipped: the count of instructions (no valgrind)"
fi

step "WebSocket, by Autobahn's suite"
tests/autobahn/run || {
    [ $? = 2 ] || exit 1
    # Debian has no Python 2.7, so that no machine can be asked to have it.
    echo "skipped: Autobahn's suite, so the bytes of the WebSocket protocol (frames, fragments, UTF-8," \
        "close codes, limits) were not held against RFC 6455; the tests of our own clients were"
}

# A Python without ensurepip makes no environment: on Debian that is a package without a command.
if debian_install python3 python3 python3-venv \
    && { python3 -c 'import ensurepip' 2>/dev/null || debian_install ensurepip python3-venv; }; then
    step "the Python client"
    python3 -m venv target/python
    target/python/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint clients/python/tests/constraints.txt './clients/python[test]'
    (
        cd clients/python
        python=../../target/python/bin/python
        "$python" -m mypy src tests --cache-dir ../../target/python/mypy
        COMETBOX_BIN="$PWD/../../target/release/cometbox" "$python" -B -m unittest discover --buffer -s tests
    )
elif [ "${CI:-}" = true ]; then
    echo "Python with venv is needed and cannot be installed here" >&2
    exit 1
else
    echo "skipped: the Python client (no python3 with venv)"
fi

if debian_install node nodejs npm && debian_install npm npm && debian_install chromium chromium; then
    step "the JavaScript client"
    (cd clients/js && npm ci --no-audit --no-fund --loglevel=error && npm test)
    step "a program per client"
    (cd examples/clients && npm ci --no-audit --no-fund --loglevel=error && COMETBOX_BIN="$PWD/../../target/release/cometbox" npm test)
    step "Bayeux, with the clients of CometD and Faye"
    (cd tests/bayeux && npm ci --no-audit --no-fund --loglevel=error && COMETBOX_BIN="$PWD/../../target/release/cometbox" npm test)
    step "the pages, in Chromium"
    (cd tests/browser && npm ci --no-audit --no-fund --loglevel=error && COMETBOX_BIN="$PWD/../../target/release/cometbox" npm test)
elif [ "${CI:-}" = true ]; then
    echo "Node.js, npm and Chromium are needed and cannot be installed here" >&2
    exit 1
else
    echo "skipped: the browser tests (no Node.js with npm, or no Chromium)"
fi
step "all tests passed"
