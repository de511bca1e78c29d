"""How k3s and MicroK8s start the kubelet that is inside them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from nodeward.facts.kubelet import Launch
from nodeward.facts.kubelet_embedded import (
    AGE_DOUBT,
    FIRST_START,
    K3S_COPY,
    K3S_OWN,
    K3sStart,
    as_given,
    is_managed,
    k3s_doubts,
    k3s_kubelet_args,
    k3s_words,
    microk8s_file,
    microk8s_words,
    without_copied,
)
from nodeward.facts.supervisors import K3S
from nodeward.facts.units import Word
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.kubelet_sources import folders_of, of_copies, same_content, with_dates
from nodeward.probes.supervisors import services, start_of
from nodeward.probes.unit_files import Service, read_service


class NoneInsideError(MissingError):
    """A program that could hold a kubelet, and does not."""


def there(host: Host, path: str) -> bool:
    try:
        host.stat(path)
    except MissingError:
        return False
    return True


def _microk8s(host: Host, launch: Launch) -> Launch:
    """kubelite's own arguments are others; its kubelet's stand in a file of the snap."""
    path = posixpath.join(launch.cwd, microk8s_file(launch.argv))
    words = microk8s_words(host.read(path), path)
    version = launch.version or _snap_version(host)
    unit = "snap.microk8s.daemon-kubelite"
    started = _kubelite_start(host, launch.started_at, path)
    launch = replace(launch, version=version, unit=unit, started_at=started)
    return with_dates(host, _embedded(launch, "kubelite", words), [path])


WRAPPER_S = 60.0
"""The wrapper, run-kubelite-with-args, waits up to 10 s for a route and 20 s for containerd."""


def _kubelite_start(host: Host, started_at: float | None, path: str) -> float | None:
    """The wrapper writes kubelite's file of arguments anew at every start (`sed -i`), and then
    becomes kubelite in the same process: what was written in its first minute was written by it,
    and read after that."""
    if started_at is None:
        return None
    written = _changed(host, path)
    return written if started_at < written <= started_at + WRAPPER_S else started_at


def _changed(host: Host, path: str) -> float:
    """When the file was; 0 where that cannot be told."""
    try:
        return host.stat(path).mtime
    except HostError:
        return 0.0


def _snap_version(host: Host) -> str | None:
    try:
        found = re.search(
            rb"\bversion: *'?v?(1\.\d+\.\d+)", host.read("/snap/microk8s/current/meta/snap.yaml")
        )
    except HostError:
        return None
    return f"v{found[1].decode()}" if found else None


def _k3s(host: Host, launch: Launch) -> Launch:
    start = k3s_start(host, launch.unit, launch.pid)
    if start.without_kubelet:
        raise NoneInsideError(f"a kubelet ({start.unit}: disable-agent)", "this k3s runs none")
    if not start.data.startswith("/"):
        raise HostError(start.unit, "the data directory of this k3s cannot be told")
    runs = launch.pid is not None
    made = there(host, start.dropins)
    managed = is_managed(launch.version, there=made, runs=runs)
    dark = start.unseen or (AGE_DOUBT if managed is None else "")
    given = () if start.unseen else k3s_kubelet_args(start)
    own = k3s_words(start, launch.version, managed=bool(managed))
    if dark:  # whatever k3s sets itself may have been set otherwise
        own = tuple(w for w in own if w.text.startswith(("--kubeconfig=", "--config-dir=")))
    if managed is not False:
        given, copied = without_copied(given)
        if not runs and not dark:
            dark = _uncopied(host, start, copied) if made else FIRST_START
        elif runs:
            launch = replace(launch, differs=of_copies(host, start.dropins, copied))
    launch = replace(launch, unit=start.unit, started_at=_k3s_kubelet_start(host, launch, start))
    doubts = k3s_doubts(launch.version, managed=bool(managed))
    launch = replace(_embedded(launch, "k3s", as_given(own, given)), doubts=doubts, dark=dark)
    service = next(services(host, K3S, start.unit), None)
    read = [f.path for f in start.files]
    return with_dates(host, launch, read, service, folders_of(start))


def _uncopied(host: Host, start: K3sStart, copied: Mapping[str, str]) -> str:
    """Why the files of a k3s that does not run are not those of its next start: it writes into its
    folder then. "" where they are the same."""
    for option, source in copied.items():
        place = f"{start.dropins}/{K3S_COPY[option]}"
        if source.startswith(start.dropins):
            continue
        if not same_content(host, source, place):
            return f"k3s copies {source} to {place} at its next start, and they differ"
    return ""


def _k3s_kubelet_start(host: Host, launch: Launch, start: K3sStart) -> float | None:
    """k3s writes its own drop-in at each start, and starts the kubelet within itself after that."""
    if launch.started_at is None:
        return None
    return max(_changed(host, f"{start.dropins}/{K3S_OWN}"), launch.started_at)


def k3s_start(host: Host, unit: str = "", pid: int | None = None) -> K3sStart:
    """How k3s was, or would be, started: see start_of."""
    found = start_of(host, K3S, unit, pid)
    return K3sStart(found.unit, found.words, found.files, found.variables, found.unseen)


def _embedded(launch: Launch, program: str, words: tuple[Word, ...]) -> Launch:
    return replace(
        launch,
        argv=(program, *(w.text for w in words)),
        exe=launch.exe or program,
        words={i: w.source for i, w in enumerate(words, 1)},
    )


EMBEDDED: dict[str, Callable[[Host, Launch], Launch]] = {"kubelite": _microk8s, "k3s": _k3s}


def embedded_services(host: Host) -> Iterator[tuple[str, Service]]:
    """Units that start a program with a kubelet inside, with that program."""
    yield from (("k3s", service) for service in services(host, K3S))
    try:
        yield "kubelite", read_service(host, "snap.microk8s.daemon-kubelite.service")
    except MissingError:
        return
