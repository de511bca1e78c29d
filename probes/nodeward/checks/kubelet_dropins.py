"""Whether the drop-ins of --config-dir count, and what they change."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from nodeward.checks.kubelet_authn import NOBODY, C
from nodeward.checks.kubelet_support import (
    CONFIG_FILE,
    LENIENT,
    RESTART,
    each_on_disk,
    maps,
    restart,
    take_out,
)
from nodeward.facts.kubelet import ConfigFile, Effective, Kubelet, example
from nodeward.facts.kubelet_merge import Layer, Rules, dig
from nodeward.facts.kubelet_shown import text
from nodeward.facts.kubelet_strength import STRONGER, counting, weaker
from nodeward.model import (
    Evidence,
    Example,
    Remedy,
    Severity,
    Status,
    Verdict,
    check,
    most,
)

_DROPIN = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"


@check(
    "kubelet.config.dropin-order",
    title="Every drop-in counts, and none weakens what comes before it",
    why="The last *.conf by name wins, whatever else is in the folder; other names are not read;"
    " and what may be overridden changed with 1.29 and with 1.32.",
    severity=Severity.MEDIUM,
    remedy=Remedy("Remove or rename the drop-in, and restart.", RESTART),
    sources=[CONFIG_FILE, LENIENT],
    mappings=maps(sac=["S4b"]),
    examples=lambda: [
        Example(
            Status.PASS,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": _DROPIN + "readOnlyPort: 0"}),
            "one that closes",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "{}",
                {
                    "10.conf": _DROPIN + "readOnlyPort: 0",
                    "99.conf": _DROPIN + "readOnlyPort: 10255",
                },
            ),
            "a later one opens what an earlier one closes",
        ),
        Example(
            Status.FAIL,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": "readOnlyPort: 0"}),
            "without apiVersion and kind no kubelet from 1.32 starts with it",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "authentication: {anonymous: {enabled: true}}",
                {"10.conf": "authentication: {anonymous: {enabled: false}}"},
                version="v1.28.4",
                gate=True,
            ),
            "1.28 ignores a false in a drop-in",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "{}",
                {"10.conf": _DROPIN + "allowedUnsafeSysctls: ['kernel.msg*']"},
            ),
            "one that lets pods do more",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "featureGates: {AllAlpha: false}",
                {"10.conf": _DROPIN + "featureGates: {AllAlpha: true}"},
            ),
            "one that switches untested features on",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "memorySwap: {swapBehavior: NoSwap}",
                {"10.conf": _DROPIN + "memorySwap: {swapBehavior: LimitedSwap}"},
            ),
            "one that lets pods swap",
        ),
        Example(
            Status.UNKNOWN,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": "readOnlyPort: 0"}, version=None),
            "without apiVersion and kind, and the version is not known",
        ),
        Example(
            Status.UNKNOWN,
            example(
                f"{C} --config-dir=/d",
                "readOnlyPort: 10255",
                {"10.conf": _DROPIN + "readOnlyPort: 0"},
                version=None,
                gate=True,
            ),
            "1.28 would ignore the 0, and the version is not known",
        ),
        Example(
            Status.FAIL,
            example(
                f"{C} --config-dir=/d",
                "readOnlyPort: 0",
                {"10.conf": _DROPIN + "readOnlyPort: 10255"},
                version=None,
                gate=True,
            ),
            "weaker in every version",
        ),
        Example(
            Status.UNKNOWN,
            example(f"{C} --config-dir=/d", "{}", {"10.conf": "a: ["}),
            "a drop-in that is no YAML",
        ),
        Example(Status.NOT_APPLICABLE, example(C, "{}"), "no --config-dir"),
        Example(Status.UNKNOWN, NOBODY, "the process may not be read"),
    ],
)
def dropin_order(kubelet: Kubelet) -> Verdict:
    return each_on_disk(kubelet, _dropins)


def _dropins(kubelet: Kubelet) -> Verdict:
    if kubelet.arguments.given("config-dir") is None:
        return Verdict.not_applicable("this kubelet was given no --config-dir")
    dropins = [f for f in kubelet.files if f.dropin]
    refused = [Evidence("the file", f.refused, f.path) for f in dropins if f.refused]
    if kubelet.dark and not refused:
        return Verdict.unknown(kubelet.dark)
    by_rules = [list(_by_rules(kubelet, one, dropins)) for one in kubelet.effective]
    found = [*refused, *(by_rules[-1] if all(by_rules) else ()), *_unread(kubelet)]
    if found:
        return Verdict.failed(_said(found[0]), *most(found), remedy=_remedy(kubelet, found))
    if some := [(e, rows) for e, rows in zip(kubelet.effective, by_rules, strict=True) if rows]:
        because = "; ".join(f"by {one.rules}: {_said(rows[0])}" for one, rows in some)
        because += "; the version of this kubelet is not known"
        return Verdict.unknown(because, *most([row for _, rows in some for row in rows]))
    count = len(dropins)
    return Verdict.passed(f"{count} drop-in{'s' * (count != 1)}, each in force and none weaker")


def _remedy(kubelet: Kubelet, found: list[Evidence]) -> Remedy:
    if found[0].what == NOT_READ:
        advice = f"Rename {found[0].source} to a file whose name ends in .conf, or remove it."
        return Remedy(advice, (restart(kubelet),))
    return take_out(kubelet, [one for one in found if one.what != NOT_READ])


NOT_READ = "not read"


def _said(found: Evidence) -> str:
    return f"{found.what}: {found.value} ({found.source})"


def _by_rules(kubelet: Kubelet, one: Effective, dropins: list[ConfigFile]) -> Iterator[Evidence]:
    """What is wrong with the drop-ins under one set of merge rules."""
    yield from _weakening(kubelet, one.rules)
    yield from _without_effect(_under(kubelet, one.rules), dropins)


def _under(kubelet: Kubelet, rules: Rules | None) -> Kubelet:
    """As if its version were one that merges by these rules."""
    fitting = [one for one in kubelet.effective if one.rules in (rules, None)]
    return replace(kubelet, effective=tuple(fitting))


def _weakening(kubelet: Kubelet, rules: Rules | None) -> Iterator[Evidence]:
    """What the files say step by step, without flags. Without --config the drop-ins are all that
    there is: what they set otherwise than a default is judged where it counts."""
    steps = [_under(step, rules) for step in kubelet.steps()]
    alone = kubelet.arguments.given("config") is None
    for before, after in pairwise(steps):
        gates = [one.without_flags("featureGates").value for one in (before, after)]
        for path in counting(*gates):
            old, new = before.without_flags(path), after.without_flags(path)
            if alone and old.layer in (Layer.DEFAULT, Layer.LEGACY):
                continue
            if new.source != old.source and weaker(path, new.value, old.value, kubelet.minor):
                value = f"{text(new.value)}, where {old.source} said {text(old.value)}"
                yield Evidence(path, value, new.source)


def _without_effect(kubelet: Kubelet, dropins: list[ConfigFile]) -> Iterator[Evidence]:
    rules = kubelet.effective[0].rules
    for file in dropins:
        if rules is not Rules.INTERNAL and not {"apiVersion", "kind"} <= set(file.mapping):
            since = "of 1.28" if rules is Rules.MERGO else "from 1.32"
            yield Evidence(
                "no apiVersion and kind", f"no kubelet {since} starts with it", file.path
            )
        if rules is Rules.MERGO:
            yield from _ignored_by_mergo(kubelet, file)
        if rules is Rules.INTERNAL and "resolvConf" in file.mapping:
            yield Evidence("resolvConf", f"has no effect by {rules}", file.path)


def _ignored_by_mergo(kubelet: Kubelet, file: ConfigFile) -> Iterator[Evidence]:
    for path in STRONGER:
        value = dig(file.mapping, path)
        if value in (False, 0, "", []) and value is not None:
            now = kubelet.without_flags(path)
            if now.value != value:
                text_ = f"{text(value)} has no effect by {Rules.MERGO}: {text(now.value)} in force"
                yield Evidence(path, text_, file.path)


def _unread(kubelet: Kubelet) -> Iterator[Evidence]:
    folder = kubelet.flag("config-dir")
    for path in kubelet.skipped:
        if folder is not None and path == posixpath.join(kubelet.launch.cwd, str(folder.value)):
            yield Evidence(NOT_READ, "it is no folder; a link is not followed", path)
        elif path.endswith((".yaml", ".yml", ".json")):  # others are notes
            yield Evidence(NOT_READ, "only names that end in .conf are", path)
