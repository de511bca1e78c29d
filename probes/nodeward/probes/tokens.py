"""Read the tokens that lie in files of their own."""

from __future__ import annotations

from nodeward.facts.kubelet import Kubelet
from nodeward.facts.pki_places import COPIES, HOMES, cni_folders
from nodeward.facts.supervisors import K0S, NOWHERE, Homes
from nodeward.facts.tokens import StoredToken, StoredTokens
from nodeward.host import Host
from nodeward.host.token_volumes import TokenVolumes
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubeconfigs import token_from
from nodeward.probes.pki_files import Files
from nodeward.probes.registry import probe

KUBELET = "/var/lib/kubelet"
MICROK8S = "/var/snap/microk8s/common/var/lib/kubelet"
IN_A_POD = "/run/secrets/kubernetes.io/serviceaccount"  # on a host it was put there


@probe
def read_tokens(
    host: Host, kubelet: Kubelet | Absent | Unreadable, found_homes: Homes | Absent | Unreadable
) -> StoredTokens:
    files = Files(host)
    at = found_homes if isinstance(found_homes, Homes) else NOWHERE
    kubelets = [KUBELET, *(f"{home}/kubelet" for home in at.folders(K0S)), MICROK8S]
    kubelets += [home.kubelet for home in at.rows if home.kubelet]
    if isinstance(kubelet, Kubelet) and (given := kubelet.flag("root-dir")):
        kubelets.insert(0, kubelet.root + given.value)
    homes = [f"{HOMES}/{name}" for name in files.names(HOMES)]
    folders = dict.fromkeys(("/etc/kubernetes", *cni_folders(at), IN_A_POD, *COPIES, *homes))
    found = host.ask(TokenVolumes(tuple(dict.fromkeys(kubelets)), tuple(folders)))
    unseen = [*files.unseen, *found.unseen]
    if host.live:  # in a tree at rest the memory that held them is gone
        unseen += (f"{one}: nothing of what is mounted there is seen" for one in found.empty[:50])
    rows = tuple(
        StoredToken(row.path, token_from(row.token) if row.token else None, row.error)
        for row in found.rows
    )
    return StoredTokens(rows, tuple(unseen))
