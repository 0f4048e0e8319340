"""The budgets of the design, checked against one run's results.

Each line is (what, must, measured, verdict). Ratios are serpentry divided by a peer within one round or
repetition: the median decides, the range is shown. Where enough rounds say how far the median itself can be trusted,
and the bound is within that, the verdict is that they are not told apart. A line whose figures are missing says so;
nothing is assumed.
"""

from __future__ import annotations

PASS, SHORT, UNKNOWN = "pass", "falls short", "not measured"
UNDECIDED = "not told apart"
MIB = 2**20

# Requests per second of a hello world over Granian's: the design, section 10.
OVER_GRANIAN = {"hello WSGI": 1.6, "hello ASGI": 1.5}


def check(results: dict) -> list[dict[str, str]]:
    lines: list[dict[str, str]] = []
    if "throughput" in results:
        lines += throughput_lines(results["throughput"]["apps"])
    if "mixed" in results:
        lines += mixed_lines(results["mixed"])
    if "kill" in results:
        lines += kill_lines(results["kill"])
    if "memory" in results:
        lines += memory_lines(results["memory"])
    return lines


def line(
    what: str, must: str, measured: str, passed: bool | None, aim: str = "", reached: bool | None = None
) -> dict:
    verdict = UNKNOWN if passed is None else PASS if passed else SHORT
    reached_text = "" if reached is None else "reached" if reached else "not reached"
    return {
        "what": what,
        "must": must,
        "measured": measured,
        "verdict": verdict,
        "aim": aim,
        "aim_verdict": reached_text,
    }


def spread_text(spread: list[float]) -> str:
    return f"{spread[0]:.2f} ({spread[1]:.2f}-{spread[2]:.2f})"


def ratio_line(what: str, ratio: list[float] | None, must: float, at_most: bool = False) -> dict:
    sign = "at most" if at_most else "at least"
    if ratio is None:
        return line(what, f"{sign} {must}", "no figures", None)
    return line(what, f"{sign} {must}", spread_text(ratio), ratio[0] <= must if at_most else ratio[0] >= must)


def with_interval(judged: dict, ratio: dict, must: float) -> dict:
    """The same, with where the true median lies with a confidence of 95 %, and undecided if that includes the bound."""
    interval = ratio.get("interval")
    if not interval:
        return judged
    judged["measured"] += f", 95 %: {interval[0]:.2f}-{interval[1]:.2f}"
    if interval[0] < must < interval[1]:
        judged["verdict"] = UNDECIDED
        judged["aim_verdict"] = UNDECIDED if judged["aim_verdict"] == "reached" else judged["aim_verdict"]
    return judged


def throughput_lines(apps: dict) -> list[dict]:
    lines = []
    for label, must in OVER_GRANIAN.items():
        granian = apps.get(label, {}).get("ratios", {}).get("granian", {})
        judged = ratio_line(f"{label}: requests/s over Granian's", granian.get("rate"), must)
        lines.append(with_interval(judged, granian, must))
    for label in ("hello WSGI", "hello ASGI"):
        # Whether the budget can be met at all on this machine.
        ceiling = apps.get(label, {}).get("ceiling_over_granian")
        if ceiling:
            what = f"{label}: a constant answer without Python, over Granian's"
            lines.append({**line(what, "no must", spread_text(ceiling), True), "verdict": "-"})
    wsgi, asgi = apps.get("hello WSGI", {}), apps.get("hello ASGI", {})
    lines.append(best_peer_line("hello WSGI", wsgi, None, 1.0))
    lines.append(best_peer_line("hello ASGI", asgi, 1.0, 2.0))
    for label in ("Flask", "Django", "FastAPI"):
        lines.append(best_peer_line(label, apps.get(label, {}), 1.0, 1.0, with_p99=True))
    lines.append(sampling_line(apps))
    return lines


def sampling_line(apps: dict) -> dict:
    """What runs beside the requests. What figures cost on a request's way is not in it: bench/cost_of_measuring.py."""
    what = "sampling: CPU time of threads that serve no request, of the whole server's"
    shares = {label: app.get("servers", {}).get("serpentry", {}).get("beside") for label, app in apps.items()}
    known = {label: share for label, share in shares.items() if share is not None}
    if not known:
        return line(what, "below 1 %", "no figures", None)
    dearest = max(known, key=lambda label: known[label])
    measured = ", ".join(f"{label} {share * 100:.2f} %" for label, share in known.items())
    return line(what, "below 1 %", measured, known[dearest] < 0.01)


def best_peer_line(label: str, app: dict, must: float | None, aim: float, with_p99: bool = False) -> dict:
    """Against the peer with the highest median rate. Without `must` only the aim is judged."""
    best = app.get("best_peer")
    ratio = app.get("ratios", {}).get(best)
    what = f"{label}: requests/s over the best peer's"
    must_text = "no must" if must is None else f"at least {must}"
    aim_text = f"above {aim}" + (", p99 lower" if with_p99 else "")
    if not ratio:
        return line(what, must_text, "no figures", None, aim_text)
    rate, p99 = ratio["rate"], ratio["p99_us"]
    measured = f"{spread_text(rate)} of {best}, p99 {spread_text(p99)}"
    reached = rate[0] > aim and (p99[0] < 1 or not with_p99)
    checked = line(what, must_text, measured, must is None or rate[0] >= must, aim_text, reached)
    if must is None:
        checked["verdict"] = "-"
        return checked
    return with_interval(checked, ratio, must)


def mixed_lines(mixed: dict) -> list[dict]:
    ratios = mixed["ratios"]
    lines = []
    for percent in ("p50", "p99"):
        for peer, must in (("gunicorn sync", 1.0), ("granian", 0.6)):
            spread = ratios.get(peer, {}).get(percent)
            lines.append(
                ratio_line(f"mixed service times: {percent} over {peer}'s", spread, must, at_most=True)
            )
        spread = ratios.get("simulated: one queue", {}).get(percent)
        what = f"mixed service times: {percent} over the simulated single queue's"
        measured = spread_text(spread) if spread else "no figures"
        aim = line(what, "no must", measured, None, "at most 1.1", spread[0] <= 1.1 if spread else None)
        lines.append({**aim, "verdict": "-" if spread else UNKNOWN})
    return lines


def kill_lines(kill: dict) -> list[dict]:
    lines = []
    for interface in ("wsgi", "asgi"):
        rows = [
            row
            for row in kill["rows"]
            if (row["server"], row["interface"], row["method"]) == ("serpentry", interface, "GET")
        ]
        what = f"`kill -9` each second, {interface}: failed repeatable requests"
        if not rows:
            lines.append(line(what, "0", "no figures", None))
            continue
        row = rows[0]
        measured = f"{row['failed']} of {row['requests']:,} with {row['kills']} kills"
        lines.append(
            line(
                what, "0", measured, row["failed"] == 0 and row["kills"] > 0 and row["gave_up_after"] is None
            )
        )
    return lines


def memory_lines(memory: dict) -> list[dict]:
    def at_most(what: str, value: float | None, must: float, aim: float, unit: str) -> dict:
        if value is None:
            return line(what, f"{must} {unit}", "no figures", None, f"{aim} {unit}")
        return line(
            what, f"{must} {unit}", f"{value:.1f} {unit}", value <= must, f"{aim} {unit}", value <= aim
        )

    ours = memory["trees"].get("serpentry wsgi")
    idle = memory["connections"].get("serpentry")
    overhead = worker_overhead(memory)
    # RSS is what the design's figures are in, and the stricter of the two.
    return [
        at_most("router memory (RSS)", ours["root"]["rss"] / MIB if ours else None, 20, 10, "MiB"),
        at_most(
            "each idle keep-alive connection (growth of the tree, PSS)",
            idle["tree_pss"] / 1024 if idle else None,
            8,
            3,
            "KiB",
        ),
        at_most(
            "worker above interpreter and app (RSS)",
            overhead / MIB if overhead is not None else None,
            6,
            3,
            "MiB",
        ),
    ]


def worker_overhead(memory: dict) -> float | None:
    ours = memory["trees"].get("serpentry wsgi")
    if not ours or not ours.get("worker"):
        return None
    return ours["worker"]["rss"] - memory["interpreter"]["wsgi"]["rss"]
