"""A check as a page: one definition, one text, for terminal, docs and the collector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

from nodeward.model.reading import Absent, Params, Unreadable
from nodeward.model.rule import Check, Example, Given


def pages(rules: Sequence[Check[...]]) -> dict[str, str]:
    """The folder docs/checks: a page a check and an index of them, by file name."""
    return {"README.md": _index(rules)} | {f"{rule.id}.md": page(rule) for rule in rules}


def _index(rules: Sequence[Check[...]]) -> str:
    lines = ["# What is judged", "", "| check | severity | the good state |", "| --- | --- | --- |"]
    lines += [f"| [{r.id}]({r.id}.md) | {r.severity} | {_cell(r.title)} |" for r in rules]
    return "\n".join([*lines, ""])


def page(rule: Check[...]) -> str:
    """Markdown for docs/checks/<id>.md and for `nodeward explain <id>`."""
    lines = [f"# {rule.id}", "", f"**{rule.title}** (severity: {rule.severity})", "", rule.why, ""]
    lines += ["## Mend it", "", rule.remedy.text, ""]
    if rule.remedy.steps:
        lines += ["```sh", *rule.remedy.steps, "```", ""]
    if rule.remedy.breaks:
        lines += [f"What may break: {rule.remedy.breaks}", ""]
    lines += ["## How it is judged", "", *([rule.how, ""] if rule.how else [])]
    lines += ["| verdict | when |", "| --- | --- |"]
    lines += [f"| {e.expect} | {_row(e)} |" for e in rule.examples]
    lines += [
        "",
        *_settings(rule),
        "## Who says so",
        "",
        *(f"- [{s.name}]({s.url})" for s in rule.sources),
        "",
    ]
    ids = [
        f"- {name}: {', '.join(found)}" for name, found in sorted(rule.mappings.items()) if found
    ]
    if ids:
        lines += ["## Mappings", "", *ids, ""]
    return "\n".join(lines)


def _settings(rule: Check[...]) -> list[str]:
    """What an operator may set of the check, with what is shipped, as agent.yaml has it."""
    kinds = [need.fact for need in rule.needs if issubclass(need.fact, Params)]
    lines = []
    for kind in kinds:
        lines += [" ".join((kind.__doc__ or "").split()), ""]
        lines += [
            f"- `{'.'.join(kind.section)}.{one.name}`: `{json.dumps(getattr(kind(), one.name))}`"
            for one in fields(kind)  # type: ignore[arg-type]  # every Params is a dataclass
        ]
        lines.append("")
    return ["## What can be set", "", *lines] if kinds else []


def _row(example: Example) -> str:
    given = example.given if isinstance(example.given, tuple) else (example.given,)
    return _cell(example.note or "; ".join(map(_shown, given)))


def _shown(given: Given) -> str:
    match given:
        case Absent(what):
            return f"`{what}` is not on the host"
        case Unreadable(what, error):
            return f"`{what}` cannot be read: {error}"
        case fact:
            return f"`{fact}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
