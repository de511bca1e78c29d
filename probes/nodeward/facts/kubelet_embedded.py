"""Kubelets inside another program: what k3s and MicroK8s give theirs. Both show other arguments.

k3s: pkg/daemons/agent/agent_linux.go and its configuration files (docs.k3s.io). MicroK8s: the
snap's args/kubelet, one argument a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nodeward.facts.pflags import parse_bool
from nodeward.facts.supervisors import CONFIG, K3S, Start, option
from nodeward.facts.units import Word
from nodeward.lazy import dataclass

MICROK8S_ARGS = "/var/snap/microk8s/current/args/kubelet"
_SNAP = {
    "SNAP_DATA": "/var/snap/microk8s/current",
    "SNAP_COMMON": "/var/snap/microk8s/common",
    "SNAP": "/snap/microk8s/current",
}

K3S_CONFIG = CONFIG[K3S]
K3S_OWN = "00-k3s-defaults.conf"
K3S_COPY = {"config": "10-cli-config.conf", "config-dir": "20-cli-config-dir"}
"""Where k3s copies what such an argument of its kubelet names (extractConfigArgs)."""

FIRST_START = "k3s makes the files of its kubelet at its first start, which has not been"
READ_ONLY_DOUBT = (
    "k3s gives its kubelet --read-only-port=0 only from 1.32.4 on, and its version is not known"
)
AGE_DOUBT = "whether this k3s is older than 1.32 is not known, and so what it gives its kubelet"


def microk8s_words(raw: bytes, path: str = MICROK8S_ARGS) -> tuple[Word, ...]:
    """The arguments in args/kubelet, or in another daemon's file, with the snap's variables filled
    in. kubelite (its ReadArgsFromFile) drops every quote and splits each line at its blanks."""
    found: list[Word] = []
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            filled = re.sub(r"\$\{?(SNAP_DATA|SNAP_COMMON|SNAP)\}?", lambda m: _SNAP[m[1]], text)
            words = re.sub("[\"']", "", filled).split()
            found += [Word(word, f"{path}:{number}") for word in words]
    return tuple(found)


def microk8s_file(argv: tuple[str, ...]) -> str:
    """Where a kubelite that was started like this has the arguments of its kubelet."""
    return option(argv, "--kubelet-args-file") or MICROK8S_ARGS


@dataclass(frozen=True, slots=True)
class K3sStart(Start):
    """How a k3s was started, with a kubelet inside."""

    @property
    def dropins(self) -> str:
        return f"{self.data}/agent/etc/kubelet.conf.d"

    @property
    def without_kubelet(self) -> bool:
        """A server alone: --disable-agent."""
        given = option(self.words, "--disable-agent", bare="true")
        value = given or str(self.configured("disable-agent"))
        return "server" in self.words[:1] and parse_bool(value) is True

    @property
    def protects_kernel_defaults(self) -> bool:
        given = option(self.words, "--protect-kernel-defaults", bare="true")
        value = given or str(self.configured("protect-kernel-defaults"))
        return value.lower() in ("1", "t", "true")


def k3s_kubelet_args(start: Start, option: str = "kubelet-arg") -> tuple[Word, ...]:
    """The kubelet arguments that people gave k3s (or those of another daemon, by its `option`): a
    later file replaces a list unless its key ends in "+", and the command line is added."""
    found: list[Word] = []
    for file in start.files:
        for key in (option, f"{option}+"):
            given = file.value.get(key)
            if given is None:
                continue
            values = given if isinstance(given, list) else [given]
            words = [Word(f"--{str(v).lstrip('-')}", f"{file.path}: {key}") for v in values]
            found = [*found, *words] if key.endswith("+") else words
    return (*found, *_of_command(start, option))


def _of_command(start: Start, option: str) -> Iterable[Word]:
    words = start.words
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in (f"--{option}", f"-{option}"):
            continue
        text = value if equals else words[place + 1] if place + 1 < len(words) else ""
        if text:
            source = f"{start.unit}: --{option} (argument {place + 1})"
            yield Word(f"--{text.lstrip('-')}", source)


def as_given(own: Iterable[Word], given: Iterable[Word]) -> tuple[Word, ...]:
    """What k3s and RKE2 start a daemon with: what they set themselves, and what people gave them
    (pkg/util/args.go, GetArgs). A name with "+" is added after what they set, one with "-" before
    it, any other replaces it; all are sorted by name, whatever their order was."""
    initial = {_split(word.text)[0]: [word] for word in own}
    found: dict[str, list[Word]] = {}
    for word in given:
        name, value = _split(word.text)
        clean = name.rstrip("+-")
        new = [Word(f"--{clean}={value}", word.source)]
        before = [*initial.pop(clean, ()), *found.get(clean, ())]
        if name.endswith("+"):
            found[clean] = [*before, *new]
        elif name.endswith("-"):
            found[clean] = [*new, *before]
        else:
            found[clean] = [*found.get(clean, ()), *new]
    rows = sorted({**found, **initial}.items(), key=lambda row: row[0].encode("utf-8", "replace"))
    return tuple(word for _, words in rows for word in words)


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.removeprefix("--").partition("=")
    return name, value if equals else "true"


def without_copied(given: tuple[Word, ...]) -> tuple[tuple[Word, ...], Mapping[str, str]]:
    """The arguments that reach a kubelet from 1.32 on, and the paths of --config and --config-dir,
    which k3s takes out and copies into its own folder."""
    kept: list[Word] = []
    copied: dict[str, str] = {}
    pending = ""
    for word in given:
        name, equals, value = word.text.removeprefix("--").partition("=")
        if pending:
            copied[pending], pending = word.text.removeprefix("--"), ""
        elif name not in K3S_COPY:
            kept.append(word)
        elif equals:
            copied[name] = value
        else:
            pending = name
    return tuple(kept), copied


def is_written_by_k3s(path: str) -> bool:
    """Whether k3s or RKE2 writes this drop-in at each start."""
    written = (K3S_OWN, "00-rke2-defaults.conf", *K3S_COPY.values())
    return any(part in written for part in path.split("/"))


def is_managed(version: str | None, *, there: bool, runs: bool) -> bool | None:
    """Whether this k3s configures its kubelet by files in a folder of its own, as from 1.32 on.
    `there`: whether that folder is. One that `runs` has made it. None: that cannot be told."""
    patch = _patch(version)
    if there or (patch is not None and patch >= (32, 0)):
        return True
    return None if patch is None and not runs else False


def k3s_words(start: K3sStart, version: str | None, *, managed: bool) -> tuple[Word, ...]:
    """What k3s gives its kubelet by itself.

    Before 1.32 k3s gave everything by flags that cannot be seen from outside: what it sets by
    itself is the hardened choice (anonymous off, Webhook, port 0, its own client CA).
    """
    agent = f"{start.data}/agent"
    own = [Word(f"--kubeconfig={agent}/kubelet.kubeconfig", "k3s itself")]
    if managed:
        own.append(Word(f"--config-dir={start.dropins}", "k3s itself"))
        if (_patch(version) or (0,)) >= (32, 4):
            own.append(Word("--read-only-port=0", "k3s itself (from 1.32.4)"))
        return tuple(own)
    hardened = [
        "--anonymous-auth=false",
        "--authorization-mode=Webhook",
        "--authentication-token-webhook=true",
        f"--client-ca-file={agent}/client-ca.crt",
        f"--tls-cert-file={agent}/serving-kubelet.crt",
        f"--tls-private-key-file={agent}/serving-kubelet.key",
        "--read-only-port=0",
        "--fail-swap-on=false",
        "--healthz-bind-address=127.0.0.1",
    ]
    if start.protects_kernel_defaults:
        hardened.append("--protect-kernel-defaults=true")
    return (*own, *(Word(word, "k3s itself (before 1.32)") for word in hardened))


def k3s_doubts(version: str | None, *, managed: bool) -> Mapping[str, str]:
    """The fields that k3s may have set by flags that are not known."""
    return {"readOnlyPort": READ_ONLY_DOUBT} if managed and _patch(version) is None else {}


def _patch(version: str | None) -> tuple[int, ...] | None:
    found = re.match(r"v?1\.(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None
