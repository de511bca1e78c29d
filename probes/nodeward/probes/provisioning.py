"""Read the modes of provisioning data and of cloud configurations, and count what they hold."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterator, Mapping

from nodeward.facts.processes import Processes
from nodeward.facts.provisioning import (
    INLINE,
    MANAGED,
    SECRETS,
    CloudConfigs,
    KeptFile,
    ProvisioningFiles,
)
from nodeward.host import Host, HostError, MissingError
from nodeward.host.patterns import CountPatterns
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

_USER_DATA = ("user-data.txt", "user-data.txt.i", "vendor-data.txt", "cloud-config.txt")
# Folders ("*" is any entry), the names of files there (() all), and whether they are private.
_PLACES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("/var/lib/cloud/instances/*", _USER_DATA, True),
    ("/var/lib/cloud/instances/*/scripts", (), True),
    ("/var/lib/cloud/seed/*", ("user-data", "vendor-data"), True),
    ("/run/cloud-init", ("instance-data-sensitive.json",), True),
    ("/run/cloud-init", ("instance-data.json",), False),
    ("/var/lib/waagent", ("ovf-env.xml", "CustomData"), True),
    ("/etc/eks", (), False),
)
_CONFIGS = (
    "/etc/kubernetes/azure.json",
    "/etc/kubernetes/cloud.conf",
    "/etc/kubernetes/cloud-config",
    "/etc/kubernetes/cloud.config",
    "/etc/kubernetes/openstack.conf",
    "/etc/kubernetes/vsphere.conf",
    "/etc/gce.conf",
)
_READERS = ("kubelet", "kube-apiserver", "kube-controller-manager")
MOST_FILES = 200


@probe
def read_provisioning_files(host: Host) -> ProvisioningFiles:
    files = [
        found
        for folder, names, private in _PLACES
        for path in _paths(host, folder, names)
        if (found := _file(host, path, SECRETS, private=private)) is not None
    ]
    if not files:
        raise MissingError("provisioning data", "none of cloud-init or a cloud's agent")
    return ProvisioningFiles(tuple(files[:MOST_FILES]))


@probe
def read_cloud_configs(host: Host, processes: Processes | Absent | Unreadable) -> CloudConfigs:
    paths = dict.fromkeys([*_CONFIGS, *_named(processes)])
    files = [f for path in paths if (f := _file(host, path, INLINE, private=True)) is not None]
    if not files:
        raise MissingError("a cloud configuration", "no file of one")
    managed = [f.path for f in files if not f.problem and _count(host, f.path, MANAGED)]
    return CloudConfigs(tuple(files), tuple(managed))


def _named(processes: Processes | Absent | Unreadable) -> Iterator[str]:
    if isinstance(processes, Processes):
        for process in processes.running(*_READERS):
            for word in process.argv or ():
                if word.startswith("--cloud-config=/"):
                    yield posixpath.normpath(word.partition("=")[2])


def _paths(host: Host, folder: str, names: tuple[str, ...]) -> Iterator[str]:
    before, star, after = folder.partition("*")
    if star:
        for entry in _names(host, before):
            yield from _paths(host, before + entry + after, names)
        return
    for name in names or _names(host, folder):
        yield f"{folder}/{name}"


def _names(host: Host, folder: str) -> tuple[str, ...]:
    """Entries of a folder that may not be there. One that may not be read is told as its files."""
    try:
        return host.names(folder)
    except MissingError:
        return ()


def _file(host: Host, path: str, patterns: Mapping[str, str], *, private: bool) -> KeptFile | None:
    try:
        status = host.stat(path)
    except MissingError:
        return None
    if not stat.S_ISREG(status.mode):
        return None
    try:
        found, problem = _count(host, path, patterns), ""
    except HostError as exc:
        found, problem = (), exc.why
    return KeptFile(path, stat.S_IMODE(status.mode), status.uid, found, private, problem)


def _count(host: Host, path: str, patterns: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    return host.ask(CountPatterns(path, tuple(patterns.items())))
