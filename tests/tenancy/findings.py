"""What a case reports: findings that know both when an attack got through and when the limit held.

The same attack runs in two ways. Against an application without limits (`--prove`) every finding must be `through`:
that proves that the attack is real and the test can fail. Against a constrained application every finding must be
`held`. A finding that is neither (a limit that is not reached, an unexpected errno) fails in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RATE_TOLERANCE = 0.05
# An attack on a rate has got through when it is this far above; above the tolerance, so that nothing is both.
RATE_THROUGH = 1.3


@dataclass
class Finding:
    """One statement about one attack."""

    text: str
    through: bool
    held: bool
    # Why the machine has nothing to attack; then it counts neither way, and is printed.
    absent: str = ""
    # False: says nothing about the attack (that neighbours were served); not asked for by `--prove`.
    provable: bool = True


def denied(answer: dict[str, Any], *errnos: str, what: str = "") -> Finding:
    """The attempt fails, with one of these errors if they are given, or its process is killed for it (SIGSYS)."""
    got = bool(answer.get("got"))
    told = answer.get("errno") or answer.get("signal") or ("hung" if answer.get("hung") else "")
    expected = not errnos or told in errnos or told == "SIGSYS"
    shown = "got through" if got else told or "failed"
    failed = answer.get("status", 200) != 200
    if failed:
        shown = f"answered {answer['status']}"
    return Finding(
        f"{what}{': ' if what else ''}{shown}",
        through=got,
        held=not got and not failed and expected,
        absent=str(answer.get("absent", "")),
    )


def rate(what: str, measured: float, limit: float, unit: str, scale: float = 1.0) -> Finding:
    """A rate, within 5 % of its limit."""
    share = measured / limit - 1
    text = f"{what}: {measured / scale:.3g} {unit}, limit {limit / scale:.3g} ({share:+.1%})"
    return Finding(text, through=measured > limit * RATE_THROUGH, held=abs(share) <= RATE_TOLERANCE)


def exactly(what: str, measured: float, limit: float, unit: str = "") -> Finding:
    """A hard limit that is reached and not passed."""
    text = f"{what}: {measured:g}{unit and ' ' + unit}, limit {limit:g}"
    return Finding(text, through=measured > limit, held=measured == limit)


def at_most(what: str, measured: float, limit: float, unit: str = "") -> Finding:
    """A hard limit that is not passed, where something may remain unused below it."""
    text = f"{what}: {measured:.4g}{unit and ' ' + unit}, limit {limit:.4g}"
    return Finding(text, through=measured > limit, held=measured <= limit)


def event(text: str, happened: bool) -> Finding:
    """Something that limits bring about (a kill, a 503), and that does not happen without them."""
    return Finding(f"{text}: {'yes' if happened else 'no'}", through=not happened, held=happened)


def leak(text: str, happened: bool) -> Finding:
    """Something that limits prevent."""
    return Finding(f"{text}: {'yes' if happened else 'no'}", through=happened, held=not happened)


def always(text: str, holds: bool) -> Finding:
    """What must hold under limits, and about which an attack without limits says nothing."""
    return Finding(f"{text}: {'yes' if holds else 'NO'}", through=True, held=holds, provable=False)
