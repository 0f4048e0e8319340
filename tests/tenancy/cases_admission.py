"""Admission: an isolated application starts only if what it asks for is free, and the refusal says what is."""

from __future__ import annotations

import os
from typing import Any

import toml_text
from findings import Finding, always
from registry import case
from stage import APPS, Stage

NOT_A_LIMIT = "without limits there is nothing to run out of"


def refused(stage: Stage, limits: dict[str, Any], *words: str) -> list[Finding]:
    """Add an application that asks for too much; it must be refused in words, and nothing else may change."""
    before = stage.file.read_text()
    greedy = {"app": "polite:app", "directory": str(APPS), "python": stage.apps["attacker"]["python"]}
    greedy |= {"routes": ["/greedy"], "tenancy": "isolated", "limits": limits}
    workers = {app: stage.worker(app) for app in ("attacker", "victim", "neighbour")}
    try:
        toml_text.replace_file(stage.file, before + "\n" + toml_text.document({}, {"greedy": greedy}))
        done = stage.host.run("reload", seconds=60)
    finally:
        toml_text.replace_file(stage.file, before)
        stage.host.run("reload", seconds=60)
    said = done.stdout + done.stderr
    missing = [word for word in words if word not in said]
    same = {app: stage.worker(app) for app in workers} == workers
    return [
        always(f"refused (exit status {done.returncode})", done.returncode not in (0, 70)),
        always(f"in words: {' '.join(said.split())[-300:]!r}, without {missing or 'nothing'}", not missing),
        always("the others have the same workers", same),
    ]


@case("admission: more cores than there are", unprovable=NOT_A_LIMIT, needs=("cores",))
def cores(stage: Stage) -> list[Finding]:
    return refused(stage, {"cpu": (os.cpu_count() or 1) + 1}, "greedy", "cpu", "attacker")


@case("admission: more memory than there is", unprovable=NOT_A_LIMIT, needs=("memory",))
def memory(stage: Stage) -> list[Finding]:
    return refused(stage, {"cpu": 0.05, "memory": "64TiB"}, "greedy", "memory", "attacker")


@case("admission: more disk space than there is", unprovable=NOT_A_LIMIT, needs=("disk_space",))
def space(stage: Stage) -> list[Finding]:
    return refused(stage, {"cpu": 0.05, "memory": "64MiB", "disk_space": "512TiB"}, "greedy", "disk_space")
