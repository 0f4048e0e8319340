"""Writes the results of one run as Markdown: machine, budgets, a table per measurement, how to repeat."""

from __future__ import annotations

import textwrap

import budgets

MIB = 2**20


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    aligned = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (head, aligned, *rows)] + [""]


def text_table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)] + [""]


def paragraph(*lines: str) -> list[str]:
    return [*textwrap.wrap(" ".join(lines), 110, break_on_hyphens=False), ""]


def markdown(results: dict) -> str:
    out = ["# Benchmarks", ""]
    out += [
        *paragraph(
            "Written by `make bench` (`bench/run.py`); do not edit by hand. Every figure comes from one run, but for parts",
            "that say below that they were measured again, on one machine, load generator and servers together on it.",
            "Compare within a table: absolute figures of two runs are not comparable.",
        ),
    ]
    out += machine(results)
    out += budget_table(results)
    for section, write in (("throughput", throughput), ("mixed", mixed), ("kill", kill), ("memory", memory)):
        if section in results:
            out += write(results[section])
    out += complaints(results)
    out += repeat(results)
    return "\n".join(out).rstrip() + "\n"


def machine(results: dict) -> list[str]:
    rows = [[name, value] for name, value in results["machine"].items()]
    return ["## Machine and versions", "", *text_table(["", ""], rows)]


def budget_table(results: dict) -> list[str]:
    lines = budgets.check(results)
    if not lines:
        return []
    out = ["## Budgets", ""]
    if results["quick"]:
        out += ["A quick run: few and short rounds, so these verdicts are an indication only.", ""]
    out += [
        "Ratios are serpentry over the peer in the same round: median (range). The median decides, unless there were",
        "rounds enough to say within which bounds the true median lies (95 %) and what is asked for is inside of them:",
        "then the two are not told apart.",
        "",
    ]
    keys = ["what", "must", "measured", "verdict", "aim", "aim_verdict"]
    return out + text_table(
        ["what", "must", "measured", "verdict", "aim", ""], [[row[key] for key in keys] for row in lines]
    )


def throughput(data: dict) -> list[str]:
    pinned = ", server pinned to core 0 and load to core 1" if data["pin"] else ", nothing pinned"
    out = [
        "## Throughput",
        "",
        *paragraph(
            f"One Python process per server, `wrk -t1 -c64 -d{data['seconds']}s` (closed loop), rounds:",
            f"{data['rounds']}, interleaved in shuffled order (seed {data['seed']}),",
            f"each server freshly started and warmed up{pinned}. CPU and memory are of the server's",
            "whole process tree. Medians of the rounds; in brackets the range.",
            *races(data),
        ),
    ]
    head = [
        "server",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU us/request",
        "PSS MiB",
        "RSS MiB",
        "errors",
        "serpentry / it: requests/s",
        "p99",
    ]
    for label, app in data["apps"].items():
        rows = []
        for name, row in sorted(app["servers"].items(), key=lambda item: -item[1]["rate"]):
            ratio = app["ratios"].get(name, {})
            low, high = row["rate_range"]
            rows.append(
                [
                    name,
                    f"{row['rate']:,.0f} ({low:,.0f}-{high:,.0f})",
                    f"{row['p50_us'] / 1000:.2f}",
                    f"{row['p99_us'] / 1000:.2f}",
                    f"{row['cpu_us']:.1f}",
                    f"{row['pss'] / MIB:.1f}",
                    f"{row['rss'] / MIB:.1f}",
                    f"{row['errors']:.0f}",
                    *(budgets.spread_text(ratio[key]) if ratio else "" for key in ("rate", "p99_us")),
                ]
            )
        out += [f"### {label}", "", *table(head, rows)]
    out += [
        *paragraph(
            "gunicorn sync and uWSGI (`--http-socket`) close each connection after its answer, so",
            "their figures include a new connection per request. Errors are answers other than 2xx and 3xx,",
            "refused connections and time-outs.",
        ),
    ]
    return out


def races(data: dict) -> list[str]:
    """Which servers were measured more often, and why."""
    if not data["races"] or not data["more_rounds"]:
        return []
    who = "; ".join(f"{label}: {', '.join(names[1:])}" for label, names in data["races"].items())
    return [
        f"Peers within {100 * (data['close'] - 1):.0f} % of serpentry or of a budget, either way, were measured beside it in",
        f"{data['more_rounds']} more rounds, and their figures and serpentry's are of all rounds ({who}).",
    ]


def mixed(data: dict) -> list[str]:
    out = [
        "## Mixed service times",
        "",
        *paragraph(
            "Four workers with one slot each; 90 % of the requests sleep 5 ms, 10 % sleep 100 ms; Poisson",
            f"arrivals at {data['rate']:.0f}/s (70 % load), repetitions of {data['seconds']:g} s:",
            f"{data['repetitions']}, interleaved, the same arrivals for every server. Latency in ms from the",
            "planned send time. Median of the repetitions (range).",
        ),
    ]
    rows = []
    for name, row in sorted(data["rows"].items(), key=lambda item: item[1]["p99"][0]):
        cells = ["{:.1f} ({:.1f}-{:.1f})".format(*row[key]) for key in ("p50", "p95", "p99")]
        ratio = data["ratios"].get(name, {})
        ratios = [budgets.spread_text(ratio[key]) if ratio else "" for key in ("p50", "p99")]
        late = f"{row['lag_p99'][0]:.2f}" if "lag_p99" in row else ""
        opened = f"{row['connections'][0]:.0f}" if "connections" in row else ""
        rows.append([name, *cells, str(row["failed"]) if late else "", late, opened, *ratios])
    head = [
        "server",
        "p50",
        "p95",
        "p99",
        "failed",
        "generator late p99",
        "connections opened",
        "serpentry / it: p50",
        "p99",
    ]
    out += table(head, rows)
    out += [
        "The simulated rows have no server at all: pure queueing of the same arrivals and service times.",
        "",
    ]
    return out


def kill(data: dict) -> list[str]:
    out = [
        "## A worker killed every second",
        "",
        *paragraph(
            f"`kill -9` of a random worker of {data['workers']} each second,",
            f"{data['clients']} keep-alive clients in a closed loop that repeat nothing. A POST",
            "that Python had started must not be run twice, so it fails with its worker.",
        ),
    ]
    rows = []
    for row in data["rows"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(row["failures"].items()))
        gave_up = row["gave_up_after"]
        end = "" if gave_up is None else f"exited after {gave_up:.0f} s: {row['last_words'].split(' | ')[-1]}"
        rows.append(
            [
                row["method"],
                row["server"],
                row["interface"],
                f"{row['failed']:,}",
                f"{row['requests']:,}",
                str(row["kills"]),
                reasons,
                end,
            ]
        )
    head = ["method", "server", "interface", "failed", "requests", "kills", "how they failed", "the server"]
    return out + text_table(head, rows)


def memory(data: dict) -> list[str]:
    def pair(part: dict | None) -> list[str]:
        return [f"{part[key] / MIB:.1f}" if part else "" for key in ("rss", "pss")]

    out = [
        "## Memory and start",
        "",
        f"Idle with one worker after ten requests, MiB, median of {data['repetitions']}.",
        "",
    ]
    rows = []
    for name, row in data["trees"].items():
        rows.append(
            [
                name,
                *pair(row["root"]),
                *pair(row["worker"]),
                *pair(row["tree"]),
                f"{row['start_seconds'] * 1000:.0f}",
            ]
        )
    for interface, row in data["interpreter"].items():
        rows.append(
            [
                f"bare interpreter, {interface} app imported",
                "",
                "",
                *pair(row),
                *pair(row),
                f"{row['start_seconds'] * 1000:.0f}",
            ]
        )
    out += table(
        [
            "server",
            "root RSS",
            "root PSS",
            "worker RSS",
            "worker PSS",
            "tree RSS",
            "tree PSS",
            "ms from start to first right answer",
        ],
        rows,
    )
    overhead = budgets.worker_overhead(data)
    if overhead is not None:
        out += [
            f"A serpentry WSGI worker holds {overhead / MIB:.1f} MiB (RSS) more than the bare interpreter.",
            "",
        ]
    if data["connections"]:
        rows = [
            [
                name,
                f"{row['count']:,}",
                *(f"{row[key] / 1024:.2f}" for key in ("root_rss", "tree_rss", "tree_pss")),
            ]
            for name, row in data["connections"].items()
        ]
        out += ["Growth for each idle keep-alive connection, KiB, kernel's socket memory left out:", ""]
        out += table(["server", "connections", "root RSS", "tree RSS", "tree PSS"], rows)
    return out


def complaints(results: dict) -> list[str]:
    problems = list(results["missing"])
    for section in ("throughput", "mixed", "kill", "memory"):
        problems += [f"{section}: {problem}" for problem in results.get(section, {}).get("problems", [])]
    return ["## What did not go well", "", *(f"- {problem}" for problem in problems), ""] if problems else []


def repeat(results: dict) -> list[str]:
    return [
        "## How to repeat",
        "",
        "```",
        "apt-get install wrk libev-dev      # libev-dev for bjoern; without it bjoern is left out",
        "make build",
        "make bench                         # about half an hour",
        f"python3 bench/run.py {results['command']}    # this run",
        "python3 bench/run.py throughput --rounds 9 --pin --only serpentry,granian",
        "```",
        "",
        *paragraph(
            "The peers are installed from PyPI into `target/bench/venv` as pinned in",
            "`bench/requirements.txt`, the flags of every server are in `bench/servers.py`. Seeds are fixed:",
            "`--seed` gives other orders and arrivals.",
        ),
    ]
