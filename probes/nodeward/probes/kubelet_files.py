"""Look at the files a kubelet was told to use, and at those of the service that starts it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from nodeward.facts import kubelet_files as roles
from nodeward.facts.kubelet import Kubelet, Unknown, changed_after
from nodeward.facts.kubelet_files import FileRow, KubeletFiles
from nodeward.host import Host, HostError, MissingError
from nodeward.probes.pki_files import Files
from nodeward.probes.registry import probe
from nodeward.probes.unit_files import read_service

MOST_ENTRIES = 200
FIELDS = {
    "authentication.x509.clientCAFile": roles.CA,
    "volumePluginDir": roles.VOLUME,
    "staticPodPath": roles.STATIC,
}
FLAGS = {
    "root-dir": roles.ROOT,
    "cert-dir": roles.ROOT,
    "image-credential-provider-bin-dir": roles.CREDENTIAL,
}
CREDENTIAL_FLAGS = ("image-credential-provider-config", "image-credential-provider-bin-dir")


@probe
def read_kubelet_files(host: Host, kubelet: Kubelet) -> KubeletFiles:
    files = Files(host)
    all_ = (kubelet, *kubelet.others)
    wanted = dict.fromkeys(path for one in all_ for path in _paths(host, one))
    dark = dict.fromkeys(row for one in all_ for row in _untold(one))
    rows = (*(_row(files, role, path) for role, path in wanted), *dark)
    guards = [row.guard for row in rows if row.guard is not None]
    owners = host.live or any(
        uid == 0 for g in guards for uid in (g.uid, *(f.uid for f in g.folders))
    )
    replaced = next((why for one in all_ if (why := _replaced(host, one))), "")
    return KubeletFiles(rows, owners, replaced)


def _untold(kubelet: Kubelet) -> Iterator[FileRow]:
    """A row for each field or flag that may name a place, and of which it could not be told what
    is in force."""
    now = kubelet.in_force()
    for field, role in FIELDS.items():
        value = now.located(field).value
        if isinstance(value, Unknown):
            yield FileRow(role, field, error=value.why)
    for name, role in FLAGS.items():
        flag = now.flag(name)
        if flag is not None and isinstance(flag.value, Unknown):
            yield FileRow(role, f"--{name}", error=flag.value.why)


def _paths(host: Host, kubelet: Kubelet) -> Iterator[tuple[str, str]]:
    def inside(path: str) -> str:
        return kubelet.root + posixpath.normpath(posixpath.join(kubelet.launch.cwd, path))

    for file in kubelet.files:
        yield roles.CONFIG, kubelet.root + file.path
    if (folder := kubelet.flag("config-dir")) is not None and folder.value:
        yield roles.CONFIG, inside(folder.value)
    yield from ((roles.SERVICE, path) for path in _service(host, kubelet.launch.unit))
    for name in ("kubeconfig", "bootstrap-kubeconfig"):
        if (flag := kubelet.flag(name)) is not None and flag.value:
            yield roles.KUBECONFIG, inside(flag.value)
    if (authority := kubelet.path("authentication.x509.clientCAFile")) is not None:
        yield roles.CA, kubelet.root + authority
    root = _flag(kubelet, "root-dir", "/var/lib/kubelet")
    yield roles.ROOT, inside(root)
    yield roles.ROOT, inside(_flag(kubelet, "cert-dir", posixpath.join(root, "pki")))
    for name in CREDENTIAL_FLAGS:
        if (flag := kubelet.flag(name)) is not None and flag.value:
            yield from _with_entries(host, roles.CREDENTIAL, inside(flag.value))
    if (plugins := kubelet.path("volumePluginDir")) is not None:
        yield from _with_drivers(host, kubelet.root + plugins)
    yield from _with_drivers(host, inside(posixpath.join(root, "plugins")))
    yield from _with_entries(host, roles.VOLUME, inside(posixpath.join(root, "plugins_registry")))
    if (static := kubelet.path("staticPodPath")) is not None:
        yield from _with_entries(host, roles.STATIC, kubelet.root + static)
    if kubelet.launch.exe and kubelet.launch.exe.startswith("/"):
        yield roles.PROGRAM, kubelet.root + kubelet.launch.exe


def _flag(kubelet: Kubelet, name: str, otherwise: str) -> str:
    found = kubelet.flag(name)
    return str(found.value) if found is not None and found.value else otherwise


def _service(host: Host, unit: str) -> tuple[str, ...]:
    try:
        return read_service(host, unit if unit.endswith(".service") else f"{unit}.service").files
    except HostError:
        return ()


def _with_entries(host: Host, role: str, path: str) -> Iterator[tuple[str, str]]:
    yield role, path
    try:
        names = host.names(path)
    except HostError:
        return  # a file, or not there: its own row says so
    yield from ((role, f"{path}/{name}") for name in names[:MOST_ENTRIES])


def _with_drivers(host: Host, path: str) -> Iterator[tuple[str, str]]:
    """A folder of folders, one for each driver: VENDOR~DRIVER/DRIVER, which the kubelet runs
    (pkg/volume/flexvolume/plugin.go), or DRIVER/csi.sock, at which it asks."""
    drivers = list(_with_entries(host, roles.VOLUME, path))
    yield from drivers
    for _, driver in drivers[1:]:
        yield from list(_with_entries(host, roles.VOLUME, driver))[1:]


def _row(files: Files, role: str, path: str) -> FileRow:
    try:
        return FileRow(role, path, files.guard(path, files.real(path)))
    except MissingError:
        return FileRow(role, path, absent=True)
    except HostError as exc:
        return FileRow(role, path, error=exc.why)


def _replaced(host: Host, kubelet: Kubelet) -> str:
    """Whether the file of the running program is gone or another one by now."""
    if kubelet.pid is None:
        return ""
    try:
        target = host.link(f"/proc/{kubelet.pid}/exe")
    except HostError:
        return ""
    if target.endswith(" (deleted)"):
        return "was deleted or replaced since it started"
    try:
        changed_at = host.stat(kubelet.root + target).mtime
    except HostError:
        return ""
    return "was changed since it started" if changed_after(changed_at, kubelet.started_at) else ""
