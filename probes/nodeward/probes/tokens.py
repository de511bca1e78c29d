"""Read the tokens that lie in files of their own."""

from __future__ import annotations

from nodeward.facts.kubelet import Kubelet
from nodeward.facts.pki_places import CNI_FOLDERS, COPIES, HOMES
from nodeward.facts.tokens import StoredToken, StoredTokens
from nodeward.host import Host
from nodeward.host.token_volumes import TokenVolumes
from nodeward.model import Absent, Unreadable
from nodeward.probes.kubeconfigs import token_from
from nodeward.probes.pki_files import Files
from nodeward.probes.registry import probe

KUBELETS = (
    "/var/lib/kubelet",
    "/var/lib/k0s/kubelet",
    "/var/snap/microk8s/common/var/lib/kubelet",
)
FOLDERS = (
    "/etc/kubernetes",
    *CNI_FOLDERS,
    "/run/secrets/kubernetes.io/serviceaccount",  # where a pod has it: on a host it was put there
)


@probe
def read_tokens(host: Host, kubelet: Kubelet | Absent | Unreadable) -> StoredTokens:
    files = Files(host)
    kubelets = list(KUBELETS)
    if isinstance(kubelet, Kubelet) and (given := kubelet.flag("root-dir")):
        kubelets.insert(0, kubelet.root + given.value)
    homes = [f"{HOMES}/{name}" for name in files.names(HOMES)]
    folders = dict.fromkeys((*FOLDERS, *COPIES, *homes))
    found = host.ask(TokenVolumes(tuple(dict.fromkeys(kubelets)), tuple(folders)))
    unseen = [*files.unseen, *found.unseen]
    if host.live:  # in a tree at rest the memory that held them is gone
        unseen += (f"{one}: nothing of what is mounted there is seen" for one in found.empty[:50])
    rows = tuple(
        StoredToken(row.path, token_from(row.token) if row.token else None, row.error)
        for row in found.rows
    )
    return StoredTokens(rows, tuple(unseen))
