"""Figures out of the generator's reports."""

import statistics


def values(reports, path):
    """A figure of all runs that did not fail."""
    found = []
    for report in reports:
        value = report if report["ok"] else None
        for key in path:
            value = value and value[key]
        if value is not None:
            found.append(value)
    return found


def quotient(ours, theirs, path):
    """Of the medians; None if there are none."""
    ours, theirs = values(ours, path), values(theirs, path)
    if not ours or not theirs or statistics.median(theirs) <= 0:
        return None
    return statistics.median(ours) / statistics.median(theirs)


def median(reports, path):
    found = values(reports, path)
    return statistics.median(found) if found else None
