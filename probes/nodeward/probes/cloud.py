"""Read which cloud this machine belongs to. Files only: nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator

from nodeward.facts import cloud
from nodeward.facts.cloud import Cloud, Sign
from nodeward.facts.processes import Processes
from nodeward.host import Host, HostError
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

KUBELET_CONFIGS = ("/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet/config.json")
SMALL = 4096


@probe
def read_cloud(host: Host, processes: Processes | Absent | Unreadable) -> Cloud:
    signs: list[Sign] = []
    looked: list[str] = []
    for sign, source in _ask_all(host, processes):
        if sign is not None:
            signs.append(sign)
        else:
            looked.append(source)
    if not host.live:
        looked.append("the tree")  # nothing is ever asked of it: no sign is answer enough
    return Cloud(signs[0].cloud if signs else None, tuple(signs), tuple(looked))


def _ask_all(
    host: Host, processes: Processes | Absent | Unreadable
) -> Iterator[tuple[Sign | None, str]]:
    """Each place that could be read, the most trustworthy first, and what it names."""
    fields = {name: text for name in cloud.DMI_FIELDS if (text := _text(host, name)) is not None}
    if fields:
        yield cloud.of_firmware(fields), cloud.DMI
    uuid = _text(host, cloud.HYPERVISOR_UUID)
    if uuid:
        yield cloud.of_hypervisor(uuid), cloud.HYPERVISOR_UUID
    yield from ((sign, sign.source) for sign in _of_kubelet(host, processes))
    for path in cloud.CLOUD_IDS:
        text = _text(host, path)
        if text:
            yield cloud.of_cloud_id(text, path), path
    # Of most clouds its form says nothing: only a form that does is an answer.
    named = cloud.of_instance_id(_text(host, cloud.INSTANCE_ID) or "", cloud.INSTANCE_ID)
    if named:
        yield named, named.source


def _of_kubelet(host: Host, processes: Processes | Absent | Unreadable) -> Iterator[Sign]:
    """A kubelet without a provider id tells nothing: its node may be anywhere."""
    if isinstance(processes, Processes):
        for kubelet in processes.running("kubelet"):
            yield from cloud.of_arguments(kubelet.argv or (), f"pid {kubelet.pid}")
    for path in KUBELET_CONFIGS:
        try:
            sign = cloud.of_kubelet_config(host.read(path), path)
        except HostError:
            continue
        if sign:
            yield sign


def _text(host: Host, name: str) -> str | None:
    path = name if name.startswith("/") else f"{cloud.DMI}/{name}"
    try:
        return host.read(path, limit=SMALL).decode("utf-8", "replace").strip()
    except HostError:
        return None
