"""Runs cases on stages and judges their findings; knows neither attacks nor limits."""

from __future__ import annotations

import itertools
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cases_admission
import cases_clients
import cases_kernel
import cases_limits
import cases_network
from doctor import Doctor
from findings import Finding
from hosting import HostError, kill_marked
from killed import Killer
from leftovers import SETTLE_SECONDS, Snapshot
from registry import CASES, Case
from stage import Stage, Watch
from yard import NoYard, Yard

__all__ = ["Options", "cases_admission", "cases_clients", "cases_kernel", "cases_limits", "cases_network", "run_all"]
TRIES = 3


@dataclass
class Options:
    """What was asked for."""

    program: Path
    folder: Path
    python: str
    prove: bool
    models: tuple[str, ...]
    words: list[str]
    without: list[str]
    alone: bool
    listing: bool
    json: Path | None
    killed: int
    steps: bool


@dataclass
class Result:
    """What became of one case in one model."""

    verdict: str  # ok, FAILED, skipped
    lines: list[str]


def run_all(options: Options) -> int:
    """Every chosen case; the exit status."""
    models = ("unlimited",) if options.prove else options.models
    chosen = [case for case in CASES if all(word.lower() in case.name.lower() for word in options.words)]
    chosen = [case for case in chosen if not any(word.lower() in case.name.lower() for word in options.without)]
    if options.listing:
        for case in chosen:
            needs = f"  needs {', '.join(case.needs)}" if case.needs else ""
            print(f"{case.name}  [{', '.join(case.models)}]{needs}")
        return 0
    results: list[tuple[str, str, Result]] = []
    left: list[str] = []
    before = Snapshot.take()
    doctor = Doctor()
    try:
        with maybe_yard(options) as yard:
            prefix = yard.command() if yard else ()
            doctor = Doctor.ask(options.program.resolve(), options.folder, prefix)
            for line in doctor.notes:
                print(line)
            for model in models:
                wanted = [case for case in chosen if options.prove or model in case.models]
                for group in grouped(wanted, model):
                    for case, result in run_group(options, group, model, doctor, prefix):
                        show(f"{model}: {case.name}", result)
                        results.append((model, case.name, result))
            if not options.prove and all(word in "killed host" for word in options.words):
                for title, result in run_killed(options, prefix):
                    show(f"killed: {title}", result)
                    results.append(("killed", title, result))
            left += settled(yard) if yard else []
    except NoYard as reason:
        print(f"skipped: no cgroup of our own can be made here: {reason}; with --alone attacks on limits need none")
        return 0
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    finally:
        kill_marked()
    left += before.left_behind(options.folder, alone=options.alone)
    if options.json:
        told = [{"model": model, "case": name, **vars(result)} for model, name, result in results]
        options.json.write_text(json.dumps({"doctor": doctor.entries, "results": told, "left": left}, indent=1))
    return sum_up(results, left, options.prove)


def sum_up(results: list[tuple[str, str, Result]], left: list[str], prove: bool) -> int:
    """The end of the output, and the exit status."""
    for line in left:
        print(f"LEFT BEHIND {line}")
    print()
    verdicts = Counter(result.verdict for _, _, result in results)
    for model, name, result in results:
        if result.verdict == "FAILED":
            print(f"FAILED {model}: {name}")
    total = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    what = "proven to get through" if prove else "attacked"
    print(f"{len(results)} cases {what}: {total or 'none'}; {len(left)} things left behind")
    return 1 if verdicts["FAILED"] or left or not results else 0


@contextmanager
def maybe_yard(options: Options) -> Iterator[Yard | None]:
    """Hosts run in a branch of our own, which has limits if they have none; alone on a machine they need none."""
    if options.alone and not options.prove:
        yield None
        return
    yard = Yard(limits=options.prove)
    try:
        yield yard
    finally:
        kill_marked()
        yard.remove()


def settled(yard: Yard) -> list[str]:
    """What hosts have left in the yard, once dying processes are gone."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := yard.left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def grouped(cases: list[Case], model: str) -> list[list[Case]]:
    """Cases that share a stage, in the order of the first of each."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.stage_key(model), []).append(case)
    return list(groups.values())


def run_group(
    options: Options, group: list[Case], model: str, doctor: Doctor, prefix: tuple[str, ...]
) -> Iterator[tuple[Case, Result]]:
    """All cases of one stage; a stage that does not start, or does not end, fails its cases."""
    ready = []
    for case in group:
        if options.prove and case.unprovable:
            yield case, Result("skipped", [f"skipped: {case.unprovable}"])
        elif not options.prove and (reason := doctor.impossible(case.needs)):
            yield case, Result("skipped", [f"skipped: {reason}"])
        else:
            ready.append(case)
    if not ready:
        return
    number = len(list(options.folder.iterdir()))
    try:
        stage = Stage(
            options.program,
            options.folder / f"stage{number}",
            model,
            group[0].limits,
            group[0].allowed,
            group[0].settings,
            group[0].victim,
            options.python,
            prefix,
        )
    except (HostError, OSError) as error:
        for case in ready:
            yield case, Result("FAILED", [f"the host does not start: {error}"])
        return
    last = ready[-1]
    for case in ready[:-1]:
        yield case, run_case(case, stage, options.prove)
    result = run_case(last, stage, options.prove)
    try:
        stage.end()
    except HostError as error:
        result = Result("FAILED", [*result.lines, f"the end of the host: {error}"])
    yield last, result


def run_killed(options: Options, prefix: tuple[str, ...]) -> Iterator[tuple[str, Result]]:
    """Hosts that are killed."""
    killer = Killer(options.program, options.folder / "killed", options.python, prefix, alone=options.alone)
    rounds = killer.at_random(options.killed)
    for found in itertools.chain(rounds, killer.step_by_step() if options.steps else ()):
        verdict = "FAILED" if found.problems else "skipped" if "skipped" in found.title else "ok"
        yield found.title, Result(verdict, found.problems + found.notes)


def run_case(case: Case, stage: Stage, prove: bool) -> Result:
    """One case; a rate is measured again if it was off, since other work on the machine disturbs it."""
    result = Result("FAILED", [])
    for number in range(TRIES if case.repeat else 1):
        result = once(case, stage, prove)
        if result.verdict != "FAILED":
            break
        if case.repeat and number < TRIES - 1:
            print(f"  again   {stage.model}: {case.name}: {'; '.join(result.lines)}")
    return result


def once(case: Case, stage: Stage, prove: bool) -> Result:
    """One attempt, with the neighbour and the control socket watched throughout."""
    watch = Watch(stage)
    try:
        with watch:
            found = case.run(stage)
    except Exception as error:
        tail = traceback.format_exc(limit=-2).strip() if not isinstance(error, HostError) else str(error)
        return Result("FAILED", [f"{type(error).__name__}: {error}", *tail.splitlines()])
    findings = found if isinstance(found, list) else [found]
    lines = [("" if judge(it, prove) else "NOT SO: ") + it.text for it in findings if not it.absent]
    lines += [f"{it.text}: {it.absent}" for it in findings if it.absent]
    good = all(judge(it, prove) for it in findings)
    if not prove:
        lines += [f"NOT SO: {text}" for text in watch.failures[:5]]
        good = good and not watch.failures
    lines.append(watch.summary())
    if prove and not good and case.control is not None and not (control := case.control())["got"]:
        why = control.get("errno") or control.get("signal") or "it fails"
        return Result("skipped", [f"skipped: this machine refuses it to root as well: {why}"])
    # Refused is refused, also where an unlimited application could not have had it either.
    told = [it for it in findings if (it.provable or not prove) and (not it.absent or (it.held and not prove))]
    if good and not told:
        return Result("skipped", ["skipped: " + "; ".join(it.absent or it.text for it in findings)])
    return Result("ok" if good else "FAILED", lines)


def judge(finding: Finding, prove: bool) -> bool:
    """Is it as it must be in this way of running?"""
    if finding.absent:
        return True
    if prove:
        return finding.through or not finding.provable
    return finding.held


def show(title: str, result: Result) -> None:
    """One line if all is well, all lines otherwise."""
    head = f"{result.verdict:8}{title}"
    if result.verdict == "FAILED":
        print(head)
        for line in result.lines:
            print(f"          {line}")
    else:
        print(": ".join([head, "; ".join(result.lines)] if result.lines else [head]))
    sys.stdout.flush()
