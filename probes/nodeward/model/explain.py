"""A check as a page: one definition, one text, for terminal, docs and the collector."""

from __future__ import annotations

from collections.abc import Sequence

from nodeward.model.reading import Absent, Unreadable
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
    lines += ["", "## Who says so", "", *(f"- [{s.name}]({s.url})" for s in rule.sources), ""]
    ids = [
        f"- {name}: {', '.join(found)}" for name, found in sorted(rule.mappings.items()) if found
    ]
    if ids:
        lines += ["## Mappings", "", *ids, ""]
    return "\n".join(lines)


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
