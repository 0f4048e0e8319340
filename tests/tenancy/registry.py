"""The list of cases: `@case(...)` puts a function there, with what it needs.

A case gets a stage and returns findings. Cases with the same limits and settings share a stage (one host), so an
attack that leaves something behind is a finding of the next one too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from findings import Finding
from stage import Stage

Run = Callable[[Stage], Finding | list[Finding]]
BOTH = ("isolated", "shared")
ISOLATED = ("isolated",)


@dataclass(frozen=True)
class Case:
    """One attack."""

    name: str
    run: Run
    models: tuple[str, ...]
    # Names of constraints as `serpentry doctor --json` has them.
    needs: tuple[str, ...]
    limits: dict[str, Any] = field(default_factory=dict)
    # Limits that only stand in the way of the attack: the same in every model, also without limits.
    allowed: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    # The victim's limits, where they are not the usual ones.
    victim: dict[str, Any] = field(default_factory=dict)
    # True: a rate, which other work on the machine can disturb; measured up to three times.
    repeat: bool = False
    # Why this cannot be proven by an attack without limits.
    unprovable: str = ""
    # The same attempt by the tests themselves: what this machine refuses to root cannot get through anywhere.
    control: Callable[[], dict[str, Any]] | None = None

    def stage_key(self, model: str) -> str:
        """Cases with the same key share a stage."""
        limits = {} if model == "unlimited" else [self.limits, self.victim]
        return json.dumps([model, limits, self.allowed, self.settings], sort_keys=True)


CASES: list[Case] = []


def case(
    name: str,
    *,
    models: tuple[str, ...] = ISOLATED,
    needs: tuple[str, ...] = (),
    limits: dict[str, Any] | None = None,
    allowed: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    victim: dict[str, Any] | None = None,
    repeat: bool = False,
    unprovable: str = "",
    control: Callable[[], dict[str, Any]] | None = None,
) -> Callable[[Run], Run]:
    """Register the function."""

    def register(run: Run) -> Run:
        groups = [it or {} for it in (limits, allowed, settings, victim)]
        CASES.append(Case(name, run, models, needs, *groups, repeat, unprovable, control))
        return run

    return register
