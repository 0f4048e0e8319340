"""docs/claims.md from the documents that `serpentry claims --json` wrote: pure, no measuring and no files."""

from __future__ import annotations

from typing import Any

# Of these two one must be wrong.
OPPOSITE = {"supported", "contradicted"}


def text(runs: list[dict[str, Any]], itself: dict[str, Any] | None) -> str:
    """The page; a part without figures says how to get them."""
    lines = [
        "# What is commonly said about hosting Python, put to the test",
        "",
        "Written by `python3 bench/claims.py report`. What each claim says, how it is tested and what a verdict means:",
        "[laboratory.md](laboratory.md). On another machine the answers may be others: `serpentry claims --all`.",
        "",
    ]
    if not runs:
        return "\n".join([*lines, "Not measured: `python3 bench/claims.py all`."]) + "\n"
    lines += [machine(runs[-1]), "", *verdicts(runs), *stability(runs), "", "## In words", ""]
    for _, claim in latest(runs):
        lines += words(claim)
    lines += ["## An application compared with itself", "", *against_itself(itself)]
    return "\n".join(lines).rstrip() + "\n"


def machine(run: dict[str, Any]) -> str:
    it = run["machine"]
    memory = f"{(it.get('memory_bytes') or 0) / 2**30:.0f} GiB"
    return f"Machine: {it.get('processor')}, {it.get('cores')} cores, {memory}, Linux {it.get('kernel')}, {run['started'][:10]}."


def latest(runs: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each claim of the first run with the latest run that has it: a run may be of a few claims only."""
    names = [claim["id"] for claim in runs[0]["claims"]]
    return [next((run, it) for run in reversed(runs) for it in run["claims"] if it["id"] == name) for name in names]


def verdicts(runs: list[dict[str, Any]]) -> list[str]:
    names = [f"run {number + 1}" for number in range(len(runs))]
    lines = ["| | claim | " + " | ".join(names) + " | ratio, interval |", "|---|---|" + "---|" * (len(runs) + 1)]
    for run, claim in latest(runs):
        said = [next((it["verdict"] for it in other["claims"] if it["id"] == claim["id"]), "-") for other in runs]
        shown = " | ".join(name.replace("_", " ") for name in said)
        lines.append(f"| {claim['id']} | {escape(claim['title'])} | {shown} | {effect(run, claim)} |")
    return [*lines, ""]


def effect(run: dict[str, Any], claim: dict[str, Any]) -> str:
    first = claim["answers"][0] if claim["answers"] else None
    answer = next((it for it in run["verdicts"] if it["id"] == first), None)
    if answer is None or answer.get("ratio") is None:
        return "-"
    low, high = (("-" if end is None else f"{end:.2f}") for end in answer["ci"])
    return f"{answer['ratio']:.2f} [{low}, {high}], {answer['pairs']} pairs"


def stability(runs: list[dict[str, Any]]) -> list[str]:
    if len(runs) < 2:
        return []
    changed, turned = [], []
    for claim in runs[0]["claims"]:
        said = [it["verdict"] for run in runs for it in run["claims"] if it["id"] == claim["id"]]
        if len(set(said)) > 1:
            changed.append(f"{claim['id']} ({', then '.join(name.replace('_', ' ') for name in said)})")
        if OPPOSITE <= set(said):
            turned.append(claim["id"])
    blocks = [sum(block["valid"] for block in run["blocks"]) for run in runs]
    counted = ", ".join(f"{valid} of {len(run['blocks'])}" for valid, run in zip(blocks, runs))
    return [
        f"From one run to the next, verdicts that changed: {', '.join(changed) or 'none'}; of these between supported and "
        f"contradicted: **{', '.join(turned) or 'none'}**. Blocks that counted: {counted}.",
    ]


def words(claim: dict[str, Any]) -> list[str]:
    lines = [f"**{claim['id']}, {escape(claim['title'])}: {claim['verdict'].replace('_', ' ')}.** {sentence(claim['sentence'])}"]
    lines += ["", f"Expected: {sentence(claim['expectation'])}"]
    if claim.get("flips_when"):
        lines += ["", f"It would be otherwise: {sentence(claim['flips_when'])}"]
    lines += ["", *(f"- {sentence(note)}" for note in claim["notes"])] if claim["notes"] else []
    return [*lines, ""]


def against_itself(itself: dict[str, Any] | None) -> list[str]:
    if itself is None:
        return ["Not measured: `python3 bench/claims.py aa`."]
    (claim,) = itself["claims"]
    return [sentence(claim["sentence"]), *[f"\n- {sentence(note)}" for note in claim["notes"]]]


def sentence(words: str) -> str:
    shown = escape(words.strip())
    return shown if shown.endswith((".", ":")) else shown + "."


def escape(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
