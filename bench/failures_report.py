"""docs/failures-compared.md from figures: pure, no measuring and no files."""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter
from typing import Any

# Of what a server wrote, so much is quoted: its beginning and its end.
QUOTED = 12
FAULTS = (
    "oom",
    "starved",
    "throttled",
    "blocked-loop",
    "gil",
    "slow-fsync",
    "hung",
    "connections",
    "segv",
    "disk-full",
    "upstream",
)
WIDTH = 200


def text(found: dict[str, Any], ours: dict[str, Any] | None) -> str:
    results = found["results"]
    names = {"gunicorn sync": "gunicorn sync", "gunicorn": "gunicorn threads", "granian": "Granian", "uvicorn": "uvicorn"}
    servers = [server for server in names if any(it["server"] == server for it in results)]
    order = {fault: number for number, fault in enumerate(FAULTS)}
    results.sort(key=lambda it: (order[it["fault"]], servers.index(it["server"])))
    lines = [
        "# The same eleven failures under gunicorn, Granian, uvicorn and serpentry",
        "",
        "Written by `python3 bench/failures.py report`; what the servers wrote is quoted as they wrote it. The application is",
        "the test application of `serpentry drill` (`serpentry drill --source`), the same bytes for all, each server with two",
        "workers and, where it has them, four threads; gunicorn twice, with its default worker and with threads, and with",
        "`--timeout 3` (which is a limit for requests with the default worker only), serpentry's test applications with",
        "`request_timeout = \"3s\"`; the others have no limit for a request. Everything else is each server's own default. The",
        "limits (memory 192 MiB, 0.2 cores, 128 files, a volume of 4 MiB) are set from outside, as a container or a service",
        "manager sets them; under serpentry they are lines of its configuration.",
        "",
        f"Versions: {'; '.join(found['versions'].values())}; {found['python']}. Machine: {os.cpu_count()} cores, Linux "
        f"{platform.release()}, {time.strftime('%Y-%m-%d', time.gmtime())}. One run of each.",
        "",
        "What this cannot show: what a monitoring system around such a server would say, and what its authors' other settings",
        "would. None of the three claims to explain limits that somebody else set.",
        "",
        "## Points",
        "",
        "One point each, of what there is to say about a fault, as in [faults-measured.md](faults-measured.md): that something was",
        "written at all (serpentry: that the incident names the application); the worker's process id; the limit; the path of a",
        "request that was affected; growth; a client that was answered 502, 503 or 504 with a reason that a program can read. The",
        "check is generous to the others: it looks for the number anywhere in what they wrote.",
        "",
        "| fault | " + " | ".join(names[it] for it in servers) + " | serpentry shared | serpentry isolated |",
        "|---|" + "---|" * (len(servers) + 2),
    ]
    for fault in dict.fromkeys(it["fault"] for it in results):
        of_fault = {it["server"]: it for it in results if it["fault"] == fault}
        cells = [f"{of_fault[it]['points']} of {of_fault[it]['of']}" if it in of_fault else "-" for it in servers]
        cells += [our_points(ours, fault, tenancy) for tenancy in ("shared", "isolated")]
        lines.append(f"| [{fault}](#{fault}) | " + " | ".join(cells) + " |")
    for fault in dict.fromkeys(it["fault"] for it in results):
        of_fault = [it for it in results if it["fault"] == fault]
        lines += ["", f"## {fault}", "", of_fault[0]["about"][0].upper() + of_fault[0]["about"][1:] + "."]
        for it in of_fault:
            lines += server_part(names[it["server"]], it)
        lines += our_part(ours, fault)
    return "\n".join(lines) + "\n"


def server_part(name: str, it: dict[str, Any]) -> list[str]:
    lines = ["", f"**{name}** ({it['interface'].upper()}). Clients: {clients(it['visits'])}. {afterwards(it)}", ""]
    said = shortened(it["log"])
    return [*lines, "```", *said, "```"] if said else [*lines, "It wrote nothing."]


def clients(visits: list[dict[str, Any]]) -> str:
    counted = Counter(
        (it["method"], it["path"].split("?")[0], str(it["status"]) if it["status"] else f"no answer ({it['error']})")
        for it in visits
    )
    shown = [f"{method} {path}: {what}{f' ({count} times)' if count > 1 else ''}" for (method, path, what), count in counted.items()]
    return "; ".join(shown[:8]) or "none"


def afterwards(it: dict[str, Any]) -> str:
    gone = {0: "No worker was lost.", 1: "One worker was lost."}.get(it["workers_gone"], f"{it['workers_gone']} workers were lost.")
    return f"{gone} " + ("It serves afterwards." if it["serves_again"] else f"Asked again afterwards: {it['again']}.")


def shortened(log: str) -> list[str]:
    lines = [line.replace("```", "'''")[:WIDTH] for line in log.strip().splitlines()]
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    if len(lines) <= QUOTED:
        return lines
    half = QUOTED // 2
    return [*lines[:half], f"... {len(lines) - QUOTED} more lines ...", *lines[-half:]]


def drills_of(ours: dict[str, Any] | None, fault: str, tenancy: str) -> list[dict[str, Any]]:
    return [it for it in (ours or {}).get("drills", []) if it["fault"] == fault and it["tenancy"] == tenancy]


def our_points(ours: dict[str, Any] | None, fault: str, tenancy: str) -> str:
    drills = drills_of(ours, fault, tenancy)
    if not drills:
        return "not measured"
    told = [it["precision"] for it in drills if it["precision"]]
    if not told:
        return Counter(it["outcome"] for it in drills).most_common(1)[0][0]
    least = min(told, key=lambda it: it["points"])
    some = "" if len(told) == len(drills) else f" ({len(told)} of {len(drills)} times)"
    return f"{least['points']} of {least['of']}{some}"


def our_part(ours: dict[str, Any] | None, fault: str) -> list[str]:
    lines = []
    for tenancy in ("shared", "isolated"):
        told = next((it for it in drills_of(ours, fault, tenancy) if it["incident"]), None)
        other = next(iter(drills_of(ours, fault, tenancy)), None)
        if told:
            answers = Counter(
                f"{it['method']} {it['path'].split('?')[0].removeprefix('/' + told['app'])}: "
                + (f"{it['status']}" + (f" with `Serpentry-Incident: {it['incident']}`" if it["incident"] else "") if it["status"] else f"no answer ({it['error']})")
                for it in told["visitors"][:8]
            )
            shown = "; ".join(f"{what}{f' ({count} times)' if count > 1 else ''}" for what, count in answers.items())
            sentence = told["incident"]["sentence"].replace("<", "&lt;")
            lines += ["", f"**serpentry**, {tenancy}. Clients: {shown or 'none'}.", "", f"> {told['incident']['id']}: {sentence}.", f"> To do: {told['incident']['remedy'].replace('<', '&lt;')}."]
        elif other:
            lines += ["", f"**serpentry**, {tenancy}: {other['outcome']}" + (f": {other['why']}" if other["why"] else "") + "."]
    return lines
