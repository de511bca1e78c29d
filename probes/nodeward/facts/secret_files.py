"""Other credentials that lie on nodes: where, and who may read them. They are never opened."""

from __future__ import annotations

from nodeward.facts.pki import Guard
from nodeward.facts.supervisors import K3S, RKE2
from nodeward.lazy import dataclass
from nodeward.model import Fact

FILES: tuple[tuple[str, str], ...] = (
    ("/var/lib/kubelet/config.json", "registry credentials"),
    ("/var/lib/kubelet/.dockercfg", "registry credentials"),
    ("/etc/kubernetes/azure.json", "cloud credentials"),
    ("/etc/kubernetes/cloud-config", "cloud credentials"),
    ("/etc/kubernetes/cloud.conf", "cloud credentials"),
    ("/etc/gce.conf", "cloud credentials"),
    ("/etc/rancher/node/password", "node password"),
    ("/etc/rancher/k3s/config.yaml", "join token"),
    ("/etc/rancher/rke2/config.yaml", "join token"),
    ("/etc/rancher/k3s/registries.yaml", "registry credentials"),
    ("/etc/rancher/rke2/registries.yaml", "registry credentials"),
    ("/etc/systemd/system/k3s.service.env", "join token"),
    ("/etc/systemd/system/k3s-agent.service.env", "join token"),
    ("/etc/k0s/k0stoken", "join token"),
    ("/var/snap/microk8s/current/credentials/known_tokens.csv", "static tokens"),
    ("/var/snap/microk8s/current/credentials/cluster-tokens.txt", "join token"),
    ("/var/lib/cloud/instance/user-data.txt", "user data, often with a join token"),
    ("/etc/ceph/ceph.client.admin.keyring", "storage credentials"),
)
OF_SUPERVISORS: tuple[tuple[str, str, str], ...] = tuple(
    (program, f"server/{name}", "join token")
    for program in (K3S, RKE2)
    for name in ("token", "agent-token")
)
"""Program, place below its data directory, and what it is."""
HOME_FILES: tuple[tuple[str, str], ...] = (
    (".docker/config.json", "registry credentials"),
    (".dockercfg", "registry credentials"),
    (".config/containers/auth.json", "registry credentials"),
    (".aws/credentials", "cloud credentials"),
    (".azure/msal_token_cache.json", "cloud credentials"),
    (".config/gcloud/application_default_credentials.json", "cloud credentials"),
    (".config/gcloud/credentials.db", "cloud credentials"),
    (".vault-token", "vault token"),
    (".netrc", "passwords"),
    (".git-credentials", "passwords"),
)
SSH_NAMES = ("id_rsa", "id_ecdsa", "id_ed25519", "id_dsa")


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file. `guard` is None where it may not be looked at, and `error` says why."""

    path: str
    what: str
    guard: Guard | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class SecretFiles(Fact):
    """All that were found at known places."""

    rows: tuple[SecretFile, ...]
    owners: bool = True
    unseen: tuple[str, ...] = ()
