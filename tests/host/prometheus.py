"""A strict reader of the Prometheus text format 0.0.4, for tests.

https://prometheus.io/docs/instrumenting/exposition_formats/: HELP and TYPE before the samples of a family, each at
most once, the samples of a family together, no sample twice, histograms cumulative and complete.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|\Z)')
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",), "untyped": ("",)}


@dataclass
class Family:
    """One metric: its samples by suffix and labels."""

    kind: str = ""
    help: str = ""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        """The sum of all samples with these labels among theirs; KeyError if there is none."""
        wanted = set(labels.items())
        found = [value for (end, own), value in self.samples.items() if end == suffix and wanted <= set(own)]
        if not found:
            raise KeyError(f"no sample with {labels}")
        return sum(found)


def parse(text: str) -> dict[str, Family]:
    """Families by name; ValueError at the first thing that is wrong."""
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    families: dict[str, Family] = {}
    current = ""
    finished: set[str] = set()
    for line in text.splitlines():
        if line.startswith("# "):
            word, name, rest = (line[2:].split(" ", 2) + [""])[:3]
            if name != current:
                finished.add(current)
                current = name
            if name in finished:
                raise ValueError(f"the lines of {name} are not together")
            family = families.setdefault(name, Family())
            if family.samples or word not in ("HELP", "TYPE"):
                raise ValueError(f"unexpected: {line}")
            if word == "TYPE" and (family.kind or rest not in SUFFIXES):
                raise ValueError(f"bad or repeated TYPE: {line}")
            family.kind, family.help = (rest, family.help) if word == "TYPE" else (family.kind, rest)
        elif line:
            _sample(line, current, families)
    for name, family in families.items():
        if not family.kind or not family.help:
            raise ValueError(f"{name} has no HELP or no TYPE")
        if family.kind == "counter" and not name.endswith("_total"):
            raise ValueError(f"the counter {name} does not end in _total")
        if family.kind == "histogram":
            _check_histogram(name, family)
    return families


def _sample(line: str, current: str, families: dict[str, Family]) -> None:
    match = SAMPLE.match(line)
    if match is None:
        raise ValueError(f"not a sample: {line}")
    name, inside, number = match.groups()
    family = families.get(current)
    suffix = name[len(current) :] if name.startswith(current) else None
    if family is None or suffix not in SUFFIXES.get(family.kind, ()):
        raise ValueError(f"a sample outside its family {current}: {line}")
    labels, rest = [], inside or ""
    while rest:
        label = LABEL.match(rest)
        if label is None:
            raise ValueError(f"bad labels: {line}")
        labels.append((label[1], label[2]))
        rest = rest[label.end() :]
    key = (suffix, tuple(sorted(labels)))
    if key in family.samples or len(dict(labels)) != len(labels):
        raise ValueError(f"twice: {line}")
    family.samples[key] = float(number.replace("+Inf", "inf"))


def _check_histogram(name: str, family: Family) -> None:
    series: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for (suffix, labels), value in family.samples.items():
        if suffix == "_bucket":
            others = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(others, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
    for labels, buckets in series.items():
        counts = [count for _, count in sorted(buckets)]
        if counts != sorted(counts) or max(buckets)[0] != float("inf"):
            raise ValueError(f"{name}{dict(labels)}: buckets are not cumulative, or the last is missing")
        if family.samples.get(("_count", labels)) != counts[-1] or ("_sum", labels) not in family.samples:
            raise ValueError(f"{name}{dict(labels)}: _count or _sum is missing or wrong")
