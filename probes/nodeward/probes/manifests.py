"""Read the static pods of a node."""

from __future__ import annotations

from nodeward.facts.errors import ParseError
from nodeward.facts.kubelet import Kubelet
from nodeward.facts.manifests import BadManifest, Manifests, StaticPod, parse_manifest
from nodeward.facts.node import Node
from nodeward.facts.stopped_kubelet import StoppedKubelet, whichever
from nodeward.facts.supervisors import NOWHERE, RKE2, Homes
from nodeward.host import Host, HostError, MissingError
from nodeward.host.manifests import ManifestFile
from nodeward.model import Absent, Unreadable
from nodeward.probes.registry import probe

USUAL = "/etc/kubernetes/manifests"


@probe
def read_manifests(
    host: Host,
    node: Node,
    kubelet: Kubelet | Absent | Unreadable,
    stopped: StoppedKubelet | Absent | Unreadable,
    homes: Homes | Absent | Unreadable,
) -> Manifests:
    at = homes if isinstance(homes, Homes) else NOWHERE
    folder = _folder(host, whichever(kubelet, stopped), at)
    pods: list[StaticPod] = []
    bad: list[BadManifest] = []
    for name in _names(host, folder) if folder else ():
        path = f"{folder}/{name}"
        try:
            found = host.ask(ManifestFile(path))
            if found.error:
                raise ParseError(path, 0, found.error)
            pods.append(parse_manifest(found.json, path))
        except MissingError:
            continue  # gone while we looked
        except HostError as exc:
            bad.append(BadManifest(path, exc.why))
        except ParseError as exc:
            bad.append(BadManifest(path, exc.text))
    return Manifests(folder, tuple(pods), tuple(bad))


def _folder(host: Host, kubelet: Kubelet | Absent | Unreadable, homes: Homes) -> str:
    """What the kubelet's settings name; where these cannot tell, a usual place that is there."""
    if isinstance(kubelet, Kubelet):
        value = kubelet.located("staticPodPath").value
        if isinstance(value, str):
            return (kubelet.root + value).rstrip("/") if value else ""
        if value is None:
            return ""
    for folder in (USUAL, *(f"{home}/agent/pod-manifests" for home in homes.folders(RKE2))):
        try:
            host.stat(folder)
        except HostError:
            continue
        return folder
    return ""


def _names(host: Host, folder: str) -> tuple[str, ...]:
    """Hidden files are skipped, as the kubelet does; so are folders, which it does not enter."""
    try:
        names = host.names(folder)
    except MissingError:
        return ()
    found = []
    for name in names:
        try:
            regular = (
                not name.startswith(".")
                and host.stat(f"{folder}/{name}").mode & 0o170000 == 0o100000
            )
        except MissingError:
            continue
        except HostError:
            regular = True  # say that it could not be read
        if regular:
            found.append(name)
    return tuple(found)
