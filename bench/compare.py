#!/usr/bin/env python3
"""Was the recommendation of `serpentry compare` right? Five applications; writes docs/compared.md.

The three examples, and two that nobody here wrote: Datasette (ASGI) and a new Wagtail site (Django, WSGI), from PyPI. Each is
compared; then what was recommended, the other tenancy, and the other ways to run requests are hosted for real, under the same load
(open loop, Poisson, the rate at which compare measured), in rounds of shuffled order: without neighbours, and beside one that
burns four cores' worth of CPU and writes durably. Figures, documents and pages: target/bench/compare/.

    python3 bench/compare.py [--only shop] [--quick] [--rounds 3] [--seconds 8] [--again] [--report]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from environment import APPS, ROOT, SERPENTRY, machine
from hosted import Host

sys.path.insert(0, str(ROOT / "scripts"))
import demo  # noqa: E402

FOLDER = ROOT / "target" / "bench" / "compare"
PAGE = ROOT / "docs" / "compared.md"
ROWS = 5000
# Of one measurement: how many requests it should have, and how many seconds it may take for them.
REQUESTS = 280
LONGEST = 40.0
DATASETTE = "datasette==0.65.5"
WAGTAIL = "wagtail==8.0.1"


@dataclass
class Subject:
    """An application that is prepared: lines of its table in the configuration, and what it is."""

    name: str
    what: str
    app: str
    directory: Path
    python: Path
    models: list[str]
    env: dict[str, str] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    @property
    def place(self) -> Path:
        """Where the comparison leaves its document and page."""
        return FOLDER / "compared" / self.name

    def table(self, **more: object) -> list[str]:
        lines = [
            f"[apps.{self.name}]",
            f"app = {json.dumps(self.app)}",
            f"directory = {json.dumps(str(self.directory))}",
            f"python = {json.dumps(str(self.python))}",
            'routes = ["*"]',
        ]
        if self.env:
            pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.env.items())
            lines.append(f"env = {{ {pairs} }}")
        return lines + [f"{key} = {json.dumps(value)}" for key, value in more.items()]


def examples() -> list[Subject]:
    found = {example.name: example for example in demo.examples("")}
    for example in found.values():
        demo.make_environment(example)
    # A copy with its data inside: where it is isolated it sees its own directory only, and has a user of its own.
    site = FOLDER / "site"
    settings = {"SITE_DATA": str(site / "data"), "SITE_SECRET_KEY": "of a benchmark"}
    if not site.exists():
        shutil.copytree(found["site"].folder, site, ignore=shutil.ignore_patterns("data", "__pycache__"))
        make = [found["site"].python, "manage.py", "setup"]
        environment = {**os.environ, **settings, "SITE_DEMO_PASSWORD": "none"}
        subprocess.run(make, cwd=site, env=environment, check=True, capture_output=True)
    wsgi = ["sync", "threads"]
    return [
        Subject("shop", "Flask shop with templates", "shop:create_app()", found["shop"].folder, found["shop"].python, wsgi),
        Subject("site", "Django guestbook, ORM on SQLite", "site_project.wsgi:application", site, found["site"].python, wsgi,
                settings),
        Subject("feed", "FastAPI feed", "feed.main:app", found["feed"].folder, found["feed"].python, ["async"]),
    ]


def environment(name: str, requirement: str) -> Path:
    """An interpreter that has it."""
    python = FOLDER / "venvs" / name / "bin" / "python"
    stamp = FOLDER / "venvs" / f"{name}.stamp"
    if not (stamp.exists() and stamp.read_text() == requirement):
        subprocess.run([sys.executable, "-m", "venv", "--clear", python.parent.parent], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, requirement], check=True)
        stamp.write_text(requirement)
    return python


def datasette() -> Subject:
    python = environment("datasette", DATASETTE)
    place = FOLDER / "datasette"
    if not place.exists():
        place.mkdir(parents=True)
        make = (
            "import sqlite3; base = sqlite3.connect('library.db');"
            "base.execute('create table books (id integer primary key, title text, author text, year integer, price real)');"
            "base.executemany('insert into books values (?, ?, ?, ?, ?)', ((n, f'Book {n}', f'Author {n % 97}', 1900 + n % 120,"
            f" n % 50 + 0.99) for n in range({ROWS}))); base.commit()"
        )
        subprocess.run([python, "-c", make], cwd=place, check=True)
        text = "from datasette.app import Datasette\n\napp = Datasette(['library.db'], settings={'num_sql_threads': 3}).app()\n"
        (place / "library_site.py").write_text(text)
    urls = ["/", "/library", "/library/books", "/library/books?_facet=year", "/library/books/42", "/library/books.json?_size=20"]
    return Subject("datasette", f"Datasette ({DATASETTE}), {ROWS} rows", "library_site:app", place, python, ["async"], urls=urls)


def wagtail() -> Subject:
    python = environment("wagtail", WAGTAIL)
    place = FOLDER / "wagtail"
    if not place.exists():
        place.mkdir(parents=True)
        subprocess.run([python.parent / "wagtail", "start", "newsite", place], check=True, capture_output=True)
        subprocess.run([python, "manage.py", "migrate"], cwd=place, check=True, capture_output=True)
    what = f"Wagtail ({WAGTAIL}), as `wagtail start` makes it"
    urls = ["/", "/search/?query=home", "/admin/login/"]
    return Subject("wagtail", what, "newsite.wsgi:application", place, python, ["sync", "threads"], urls=urls)


def compare(subject: Subject, quick: bool) -> dict:
    """What `serpentry compare` found."""
    place = subject.place
    place.mkdir(parents=True, exist_ok=True)
    (place / "serpentry.toml").write_text("\n".join(subject.table()) + "\n")
    command = [SERPENTRY, "compare", subject.name, "--json", "found.json", "--report", "found.html"]
    command += [argument for url in subject.urls for argument in ("--url", url)] + (["--quick"] if quick else [])
    began = time.monotonic()
    with open(place / "said.txt", "w") as said:
        status = subprocess.run(command, cwd=place, stdout=said, stderr=subprocess.STDOUT).returncode
    if status != 0:
        sys.exit(f"compare {subject.name} ended with {status}:\n" + (place / "said.txt").read_text()[-2000:])
    found = json.loads((place / "found.json").read_text())
    print(f"{subject.name}: {found['recommendation']['sentence']} ({time.monotonic() - began:.0f} s)", flush=True)
    return found | {"took": time.monotonic() - began}


def ways(subject: Subject, recommendation: dict) -> dict[str, dict]:
    """Configurations to run for real: the recommended first."""
    keys = ("tenancy", "concurrency", "workers", "threads")
    chosen = {key: recommendation[key] for key in keys if recommendation.get(key) is not None}
    found = {"recommended": chosen}
    other = {"shared": "isolated", "isolated": "shared"}[chosen.get("tenancy", "shared")]
    found[other] = {**chosen, "tenancy": other}
    for model in subject.models:
        if model != chosen.get("concurrency"):
            workers = chosen.get("workers", 2)
            slots = workers * chosen.get("threads", 1)
            more = {"workers": workers, "threads": 4} if model == "threads" else {"workers": max(workers, min(slots, 8))}
            found[model] = {"tenancy": chosen.get("tenancy", "shared"), "concurrency": model, **more}
    return found


def noise(place: Path) -> list[str]:
    data = place / "noise-data"
    data.mkdir(exist_ok=True)
    return [
        "[apps.noise]",
        'app = "tenancy_noise:app"',
        f"directory = {json.dumps(str(APPS))}",
        'routes = ["/noise"]',
        "workers = 1",
        f"env = {{ BENCH_DATA = {json.dumps(str(data))} }}",
    ]


def measure(subject: Subject, way: dict, document: dict, noisy: bool, seconds: float, seed: int) -> dict:
    place = FOLDER / "run"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    paths = [endpoint["route"] for endpoint in document["endpoints"]]
    # A p95 is given for 200 requests and more (lab::statistics); arrivals are random.
    seconds = min(max(seconds, REQUESTS / document["method"]["rate"]), LONGEST)
    with Host(SERPENTRY, place, [*subject.table(**way), *(noise(place) if noisy else [])]) as host:
        if noisy:
            urllib.request.urlopen(f"{host.url}/noise/start?seconds={seconds + 3}", timeout=10).read()
        figures = host.load(paths, document["method"]["rate"], seconds, seed, warm_up=2)
    return {**{name: figures["latency_ms"].get(name) for name in ("p50", "p95")}, "goodput": figures["goodput"]}


def really(subject: Subject, document: dict, rounds: int, seconds: float, draw: random.Random) -> dict[str, dict]:
    """Medians over the rounds, quiet and beside a neighbour, of each way."""
    found: dict[str, dict] = {}
    chosen = ways(subject, document["recommendation"])
    for number in range(rounds):
        for condition in draw.sample(["quiet", "noisy"], 2):
            for name in draw.sample(list(chosen), len(chosen)):
                figures = measure(subject, chosen[name], document, condition == "noisy", seconds, number + 1)
                entry = found.setdefault(name, {"way": chosen[name], "quiet": [], "noisy": []})
                entry[condition].append(figures)
                print(f"  {subject.name} {name} {condition}: p95 {figures['p95']} ms, {figures['goodput']}/s", flush=True)
    return found


def value(figure: object) -> float:
    """Milliseconds; a quantile among failures is the worst, and so is one of too few requests."""
    return float(figure) if isinstance(figure, (int, float)) else float("inf")


def cell(figures: list[dict]) -> str:
    values = sorted(value(one["p95"]) for one in figures)
    shown = ["none" if each == float("inf") else f"{each:.1f}" for each in (statistics.median(values), values[0], values[-1])]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def describe(way: dict) -> str:
    words = [way.get("tenancy", ""), way.get("concurrency", ""), f"{way.get('workers', '?')} workers"]
    return ", ".join(words + ([f"{way['threads']} threads each"] if way.get("threads") else []))


def near_best(ways: dict[str, dict], condition: str) -> bool:
    """Whether what was recommended was at most 1.25 times as slow as the best of what was run (lab.md: a material difference)."""
    medians = {label: statistics.median(value(one["p95"]) for one in entry[condition]) for label, entry in ways.items()}
    return medians["recommended"] <= 1.25 * min(medians.values()) and medians["recommended"] != float("inf")


def verdict(applications: dict[str, dict]) -> str:
    """How often it was right, in each condition, and where not."""
    sentences = []
    for condition, words in (("quiet", "Without neighbours"), ("noisy", "Beside the neighbour")):
        wrong = [name for name, one in applications.items() if not near_best(one["ways"], condition)]
        right = len(applications) - len(wrong)
        but = f" (not for {', '.join(wrong)})" if wrong else ""
        sentences.append(
            f"{words}, what was recommended was the best of those run, or at most 1.25 times as slow, for {right} of"
            f" {len(applications)} applications{but}."
        )
    return "\n".join(sentences)


def report(found: dict[str, dict]) -> None:
    where = found["machine"]
    lines = [
        "# Compared, and then run",
        "",
        "Made by `python3 bench/compare.py`: each application was compared by `serpentry compare`; then what it recommended, the other",
        "tenancy, and the other ways to run requests were hosted for real under the same load (open loop, Poisson, at the rate at which",
        "compare measured, rounds of shuffled order), without neighbours and beside one that burns four cores' worth and writes durably.",
        "p95 in milliseconds: median of the rounds (least to most). A quantile that fell among failed requests, or of too few, is \"none\".",
        "A recommendation has its condition in its sentence: isolated is for busy neighbours, and what it costs without any is in the other column.",
        "The load generator shares the cores: beside the neighbour it was often late itself (it says by how much), which is in these figures.",
        "",
        f"Machine: {where['processor']}, {where['cores']} cores, {where['kernel']}, {where['date']}. Serpentry ran from the release build.",
        "",
        verdict(found["applications"]),
        "",
    ]
    for name, one in found["applications"].items():
        recommendation = one["recommendation"]
        lines += [f"## {name}: {one['what']}", "", f"> {recommendation['sentence']}", ""]
        lines += [*(f"- {reason['text']}" for reason in recommendation["reasons"]), ""]
        lines += [f"Confidence: {recommendation['confidence']}. {recommendation['confidence_because']}".rstrip(), ""]
        lines += [f"Compared in {one['took']:.0f} s ({one['depth']}); then {one['rate']:.1f} requests/s:", ""]
        lines += ["| | configuration | p95 quiet | p95 beside the neighbour |", "|---|---|---|---|"]
        for label, entry in one["ways"].items():
            title = "**recommended**" if label == "recommended" else label
            lines.append(f"| {title} | {describe(entry['way'])} | {cell(entry['quiet'])} | {cell(entry['noisy'])} |")
        lines += [""]
    PAGE.write_text("\n".join(lines))


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=("shop", "site", "feed", "datasette", "wagtail"))
    parser.add_argument("--quick", action="store_true", help="compare --quick")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run")
    parser.add_argument("--again", action="store_true", help="take the comparisons that are there, and only run")
    parser.add_argument("--report", action="store_true", help="write the page from the figures that are there")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = FOLDER / "figures.json"
    found: dict[str, dict] = json.loads(kept.read_text()) if kept.exists() else {"applications": {}}
    if not options.report:
        found["machine"] = machine()
        draw = random.Random(1)
        for subject in [*examples(), datasette(), wagtail()]:
            if options.only and subject.name not in options.only:
                continue
            if options.again:
                took = found["applications"].get(subject.name, {}).get("took", 0.0)
                document = json.loads((subject.place / "found.json").read_text()) | {"took": took}
            else:
                document = compare(subject, options.quick)
            found["applications"][subject.name] = {
                "what": subject.what,
                "took": document["took"],
                "depth": "quick" if "--quick" in document["method"]["command"] else "normal",
                "rate": document["method"]["rate"],
                "recommendation": document["recommendation"],
                "ways": really(subject, document, options.rounds, options.seconds, draw),
            }
            kept.write_text(json.dumps(found, indent=1) + "\n")
    report(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
