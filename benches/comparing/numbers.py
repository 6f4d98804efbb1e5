"""Figures out of the generator's reports."""

import statistics


class Failed(Exception):
    """A run failed: nothing follows from those that did not."""


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
    ours, theirs = median(ours, path), median(theirs, path)
    return ours / theirs if ours is not None and theirs else None


def median(reports, path):
    """None if there are no runs."""
    if not all(report["ok"] for report in reports):
        raise Failed
    found = values(reports, path)
    return statistics.median(found) if found else None
