"""Where figures go: between markers in a document."""

import pathlib
import sys


def write(document, text, command):
    """In place of what the same command has found before."""
    begin, end = f"<!-- {command}: begin -->", f"<!-- {command}: end -->"
    block = f"{begin}\n{text}\n{end}"
    old = document.read_text() if document.exists() else "# Performance\n"
    before, found, rest = old.partition(begin)
    after = rest.partition(end)[2]
    new = before + block + after if found else f"{old.rstrip()}\n\n{block}\n"
    document.write_text(new)


def command_line(command):
    # Where somebody keeps his binaries is nobody's business.
    words = [pathlib.Path(word).name if word.startswith(("/", ".")) else word for word in sys.argv[1:]]
    return " ".join([command, *words])
