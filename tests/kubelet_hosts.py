"""Hosts of a dozen distributions as file trees at rest, from what their sources say they write.

Each function returns the files and processes that decide about the kubelet; `build` puts them on
disk. A `Run` is a process: its program, its arguments, and what its environment adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nodeward.agent.scan import scan, select
from nodeward.host import TreeHost
from nodeward.model import Finding

BOOT = 1_795_000_000
STARTED_TICKS = 60_00  # a minute after boot
JUDGED = "2026-11-23T12:00:00Z"


@dataclass(frozen=True)
class Run:
    """One process of a host."""

    exe: str
    argv: tuple[str, ...]
    environ: tuple[str, ...] = ()
    pid: int = 812
    cwd: str = "/"


@dataclass(frozen=True)
class Host:
    """Files by absolute path (a value that starts with "->" is a link), and processes. Without
    `runs` the tree has no process table."""

    files: Mapping[str, str]
    runs: tuple[Run, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    comment: str = ""


def build(host: Host, root: Path) -> Path:
    """Write the tree; every file and directory is older than every process."""
    for path, content in host.files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("->"):
            place.symlink_to(content[2:])
        else:
            place.write_text(content)
            place.chmod(host.modes.get(path, 0o644))
    for path, mode in host.modes.items():
        if path not in host.files:
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            (root / path.lstrip("/")).chmod(mode)
    if host.runs:
        (root / "proc").mkdir(parents=True, exist_ok=True)
        (root / "proc/stat").write_text(f"btime {BOOT}\n")
    for run in host.runs:
        _process(root, run)
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(Path(folder) / name, (BOOT - 1000, BOOT - 1000), follow_symlinks=False)
        os.utime(folder, (BOOT - 1000, BOOT - 1000))
    return root


def _process(root: Path, run: Run) -> None:
    folder = root / "proc" / str(run.pid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cmdline").write_bytes(b"".join(os.fsencode(a) + b"\0" for a in run.argv))
    (folder / "environ").write_bytes(b"".join(os.fsencode(a) + b"\0" for a in run.environ))
    name = run.exe.rpartition("/")[2]
    rest = " ".join(["0"] * 17)
    (folder / "stat").write_text(f"{run.pid} ({name[:15]}) S 1 {rest} {STARTED_TICKS} 0 0\n")
    (folder / "status").write_text("Uid:\t0\t0\t0\t0\n")
    (folder / "exe").symlink_to(run.exe)
    (folder / "cwd").symlink_to(run.cwd)


HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
KUBEADM_DROPIN = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""  # noqa: E501  as kubeadm's package has it
KUBEADM_CONFIG = (
    HEAD
    + """\
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
authorization:
  mode: Webhook
cgroupDriver: systemd
healthzBindAddress: 127.0.0.1
healthzPort: 10248
rotateCertificates: true
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
"""
)
DPKG = "Package: kubelet\nStatus: install ok installed\nVersion: {}-1.1\n\n"


def kubeadm_image() -> Host:
    """A Debian image with kubeadm's packages, at rest: no process, the unit would start it."""
    return Host(
        {
            "/usr/lib/systemd/system/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet\n",
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": KUBEADM_DROPIN,
            "/var/lib/kubelet/kubeadm-flags.env": 'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.5"\n',
            "/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--read-only-port=10255\n",
            "/var/lib/kubelet/config.yaml": KUBEADM_CONFIG,
            "/var/lib/dpkg/status": DPKG.format("1.36.2"),
            "/usr/bin/kubelet": "",
        },
        comment="/etc/default/kubelet comes last and opens 10255",
    )


def k3s_132() -> Host:
    """k3s from 1.32: one process, drop-ins only, its title written over its arguments."""
    drop = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"
    return Host(
        {
            f"{drop}/00-k3s-defaults.conf": HEAD
            + "authentication:\n  anonymous: {enabled: false}\n  webhook: {enabled: true}\n"
            "  x509: {clientCAFile: /var/lib/rancher/k3s/agent/client-ca.crt}\n"
            "authorization: {mode: Webhook}\n"
            "allowedUnsafeSysctls: [net.ipv4.ip_forward, net.ipv6.conf.all.forwarding]\n"
            "failSwapOn: false\nhealthzBindAddress: 127.0.0.1\nserializeImagePulls: false\n"
            "tlsCertFile: /var/lib/rancher/k3s/agent/serving-kubelet.crt\n"
            "tlsPrivateKeyFile: /var/lib/rancher/k3s/agent/serving-kubelet.key\n",
            f"{drop}/20-cli-config-dir/10-mine.conf": HEAD + "podPidsLimit: 4096\n",
            "/etc/rancher/k3s/config.yaml": "kubelet-arg:\n- seccomp-default=true\n",
            "/etc/systemd/system/k3s.service": (
                "[Service]\nExecStart=/usr/local/bin/k3s \\\n    server\n"
            ),
        },
        (Run("/var/lib/rancher/k3s/data/abc/bin/k3s", ("/usr/local/bin/k3s server",)),),
        comment="the version is not told by anything, so port 10255 is unknown without a probe",
    )


def k3s_130_agent() -> Host:
    """k3s before 1.32: everything by flags inside, and what people gave it."""
    return Host(
        {
            "/etc/rancher/k3s/config.yaml": "kubelet-arg: [anonymous-auth=true]\n",
            "/etc/systemd/system/k3s-agent.service": (
                "[Service]\nExecStart=/usr/local/bin/k3s agent\n"
            ),
        },
        (Run("/var/lib/rancher/k3s/data/abc/bin/k3s", ("/usr/local/bin/k3s agent",)),),
        comment="kubelet-arg opens what k3s closes",
    )


def rke2() -> Host:
    """RKE2: a child process with visible arguments and drop-ins; version in its path."""
    drop = "/var/lib/rancher/rke2/agent/etc/kubelet.conf.d"
    return Host(
        {
            f"{drop}/00-rke2-defaults.conf": HEAD
            + "authentication:\n  anonymous: {enabled: false}\n  webhook: {enabled: true}\n"
            "  x509: {clientCAFile: /var/lib/rancher/rke2/agent/client-ca.crt}\n"
            "authorization: {mode: Webhook}\nprotectKernelDefaults: true\n"
            "tlsCertFile: /var/lib/rancher/rke2/agent/serving-kubelet.crt\n"
            "tlsPrivateKeyFile: /var/lib/rancher/rke2/agent/serving-kubelet.key\n"
        },
        (
            Run(
                "/var/lib/rancher/rke2/data/v1.32.2-rke2r1-0123456789ab/bin/kubelet",
                (
                    "kubelet",
                    "--cloud-provider=external",
                    f"--config-dir={drop}",
                    "--kubeconfig=/var/lib/rancher/rke2/agent/kubelet.kubeconfig",
                    "--hostname-override=n1",
                ),
            ),
        ),
        comment="1.32.2: --config-dir alone leaves port 10255 open",
    )


def eks_al2023() -> Host:
    """EKS on Amazon Linux 2023, nodeadm: JSON file and drop-in directory."""
    return Host(
        {
            "/etc/kubernetes/kubelet/config.json": '{"kind": "KubeletConfiguration",'
            ' "apiVersion": "kubelet.config.k8s.io/v1beta1", "address": "0.0.0.0",'
            ' "authentication": {"x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},'
            ' "webhook": {"enabled": true, "cacheTTL": "2m0s"}, "anonymous": {"enabled": false}},'
            ' "authorization": {"mode": "Webhook"}, "serverTLSBootstrap": true,'
            ' "protectKernelDefaults": true, "readOnlyPort": 0, "hairpinMode": "hairpin-veth",'
            ' "tlsCipherSuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",'
            ' "TLS_RSA_WITH_AES_256_GCM_SHA384"]}',
            "/etc/kubernetes/kubelet/config.json.d/40-nodeadm.conf": '{"apiVersion":'
            ' "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "maxPods": 29}',
            "/etc/kubernetes/kubelet/config.json.d/README.md": "not read\n",
            "/var/lib/kubelet/kubeconfig": "apiVersion: v1\nkind: Config\nclusters: []\n"
            "contexts: [{name: k, context: {cluster: k, user: k}}]\ncurrent-context: k\n"
            "users: [{name: k, user: {exec: {command: aws}}}]\n",
        },
        (
            Run(
                "/usr/bin/kubelet",
                (
                    "/usr/bin/kubelet",
                    "--config=/etc/kubernetes/kubelet/config.json",
                    "--config-dir=/etc/kubernetes/kubelet/config.json.d",
                    "--kubeconfig=/var/lib/kubelet/kubeconfig",
                    "--image-credential-provider-config=/etc/eks/image-credential-provider/config.json",
                    "--image-credential-provider-bin-dir=/etc/eks/image-credential-provider",
                    "--hostname-override=ip-10-0-0-5.ec2.internal",
                    "--cloud-provider=external",
                ),
            ),
        ),
    )


def eks_128() -> Host:
    """EKS 1.28: the drop-in's `false` has no effect (merge rules of 1.28)."""
    return Host(
        {
            "/etc/kubernetes/kubelet/config.json": '{"kind": "KubeletConfiguration",'
            ' "apiVersion": "kubelet.config.k8s.io/v1beta1",'
            ' "authentication": {"anonymous": {"enabled": true}}}',
            "/etc/kubernetes/kubelet/config.json.d/40-mine.conf": '{"kind":'
            ' "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",'
            ' "authentication": {"anonymous": {"enabled": false}}}',
        },
        (
            Run(
                "/opt/v1.28.5/kubelet",
                (
                    "kubelet",
                    "--config=/etc/kubernetes/kubelet/config.json",
                    "--config-dir=/etc/kubernetes/kubelet/config.json.d",
                ),
                ("KUBELET_CONFIG_DROPIN_DIR_ALPHA=on",),
            ),
        ),
    )


def aks_flags() -> Host:
    """AKS with its configuration in flags: the flags' defaults count for the rest."""
    flags = (
        "--anonymous-auth=false",
        "--authentication-token-webhook=true",
        "--authorization-mode=Webhook",
        "--client-ca-file=/etc/kubernetes/certs/ca.crt",
        "--cloud-provider=external",
        "--event-qps=0",
        "--feature-gates=RotateKubeletServerCertificate=true",
        "--kubeconfig=/var/lib/kubelet/kubeconfig",
        "--bootstrap-kubeconfig=/var/lib/kubelet/bootstrap-kubeconfig",
        "--pod-max-pids=-1",
        "--protect-kernel-defaults=true",
        "--read-only-port=0",
        "--rotate-certificates=true",
        "--streaming-connection-idle-timeout=4h",
        "--tls-cert-file=/etc/kubernetes/certs/kubeletserver.crt",
        "--tls-private-key-file=/etc/kubernetes/certs/kubeletserver.key",
        "--node-labels=agentpool=default,kubernetes.azure.com/cluster=x",
    )
    return Host(
        {"/etc/default/kubelet": f"KUBELET_FLAGS={' '.join(flags)}\n"},
        (Run("/opt/bin/kubelet", ("/opt/bin/kubelet", *flags)),),
    )


def aks_file() -> Host:
    """AKS with the kubelet configuration file."""
    return Host(
        {
            "/etc/default/kubeletconfig.json": '{"kind": "KubeletConfiguration", "apiVersion":'
            ' "kubelet.config.k8s.io/v1beta1", "authentication": {"x509": {"clientCAFile":'
            ' "/etc/kubernetes/certs/ca.crt"}, "webhook": {"enabled": true}, "anonymous": {}},'
            ' "authorization": {"mode": "Webhook", "webhook": {}}, "eventRecordQPS": 0,'
            ' "rotateCertificates": true, "protectKernelDefaults": true,'
            ' "serverTLSBootstrap": true, "seccompDefault": true}',
        },
        (
            Run(
                "/opt/bin/kubelet",
                (
                    "/opt/bin/kubelet",
                    "--enable-server",
                    "--config",
                    "/etc/default/kubeletconfig.json",
                    "--kubeconfig=/var/lib/kubelet/kubeconfig",
                ),
            ),
        ),
    )


def gke() -> Host:
    """GKE: its own directory, and a read-only port that it keeps open."""
    return Host(
        {
            "/home/kubernetes/kubelet-config.yaml": HEAD
            + "authentication: {anonymous: {enabled: false}, webhook: {enabled: true},"
            " x509: {clientCAFile: /etc/srv/kubernetes/pki/ca-certificates.crt}}\n"
            "authorization: {mode: Webhook}\nreadOnlyPort: 10255\nserverTLSBootstrap: true\n"
            "protectKernelDefaults: true\nstaticPodPath: /etc/kubernetes/manifests\n",
        },
        (
            Run(
                "/home/kubernetes/bin/kubelet",
                (
                    "/home/kubernetes/bin/kubelet",
                    "--v=2",
                    "--config=/home/kubernetes/kubelet-config.yaml",
                    "--kubeconfig=/var/lib/kubelet/kubeconfig",
                ),
            ),
        ),
    )


def openshift() -> Host:
    """OpenShift: kubelet.conf is the configuration here, and no kubeconfig."""
    return Host(
        {
            "/etc/kubernetes/kubelet.conf": HEAD + "staticPodPath: /etc/kubernetes/manifests\n"
            "authentication: {x509: {clientCAFile: /etc/kubernetes/kubelet-ca.crt},"
            " anonymous: {enabled: false}}\nrotateCertificates: true\nserverTLSBootstrap: true\n"
            "podPidsLimit: 4096\nprotectKernelDefaults: true\ntlsMinVersion: VersionTLS12\n"
            "tlsCipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n"
            "featureGates: {RotateKubeletServerCertificate: true}\n",
            "/etc/openshift/kubelet.conf.d/10-auto.conf": HEAD + "maxPods: 250\n",
        },
        (
            Run(
                "/usr/bin/kubelet",
                (
                    "/usr/bin/kubelet",
                    "--config=/etc/kubernetes/kubelet.conf",
                    "--config-dir=/etc/openshift/kubelet.conf.d",
                    "--bootstrap-kubeconfig=/etc/kubernetes/kubeconfig",
                    "--kubeconfig=/var/lib/kubelet/kubeconfig",
                    "--node-labels=node-role.kubernetes.io/worker,node.openshift.io/os_id=rhel",
                ),
            ),
        ),
    )


def microk8s() -> Host:
    """MicroK8s: everything in kubelite, flags in a file, and no --authorization-mode. Its hook of
    installation closes these directories to others (chmod -R ug+rwX, then o-rwX)."""
    data = "/var/snap/microk8s/current"
    return Host(
        {
            f"{data}/args/kubelet": ""
            "--kubeconfig=${SNAP_DATA}/credentials/kubelet.config\n"
            "--cert-dir=${SNAP_DATA}/certs\n--client-ca-file=${SNAP_DATA}/certs/ca.crt\n"
            "--anonymous-auth=false\n--root-dir=${SNAP_COMMON}/var/lib/kubelet\n"
            "--fail-swap-on=false\n--feature-gates=DevicePlugins=true\n"
            "--authentication-token-webhook=true\n--read-only-port=0\n",
            "/snap/microk8s/current/meta/snap.yaml": "name: microk8s\nversion: v1.32.3\n",
        },
        (
            Run(
                "/snap/microk8s/7731/kubelite",
                (
                    "/snap/microk8s/7731/kubelite",
                    "--scheduler-args-file=/x",
                    f"--kubelet-args-file={data}/args/kubelet",
                ),
            ),
        ),
        {
            f"{data}/args": 0o770,
            f"{data}/args/kubelet": 0o660,
            f"{data}/certs": 0o770,
            f"{data}/certs/ca.crt": 0o660,
        },
        comment="any service account's token may run commands on this node",
    )


def k0s() -> Host:
    """k0s: a child with visible arguments, static pods from its own loopback server."""
    return Host(
        {
            "/var/lib/k0s/kubelet-config.yaml": HEAD
            + "authentication: {anonymous: {enabled: false},"
            " x509: {clientCAFile: /var/lib/k0s/pki/ca.crt}}\nrotateCertificates: true\n"
            "serverTLSBootstrap: true\nstaticPodURL: http://127.0.0.1:41453/manifests\n"
            "tlsCipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n",
        },
        (
            Run(
                "/var/lib/k0s/bin/kubelet",
                (
                    "/var/lib/k0s/bin/kubelet",
                    "--config=/var/lib/k0s/kubelet-config.yaml",
                    "--kubeconfig=/var/lib/k0s/kubelet.conf",
                    "--root-dir=/var/lib/k0s/kubelet",
                    "--cert-dir=/var/lib/k0s/kubelet/pki",
                    "--hostname-override=n1",
                ),
            ),
        ),
    )


def talos() -> Host:
    """Talos: what the machine writes for its containerised kubelet."""
    return Host(
        {
            "/etc/kubernetes/kubelet.yaml": HEAD
            + "authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt},"
            " webhook: {enabled: true}, anonymous: {enabled: false}}\n"
            "authorization: {mode: Webhook}\nrotateCertificates: true\n"
            "protectKernelDefaults: true\nseccompDefault: true\ntlsMinVersion: VersionTLS13\n"
            "serverTLSBootstrap: false\nstreamingConnectionIdleTimeout: 5m0s\n",
        },
        (
            Run(
                "/usr/local/bin/kubelet",
                (
                    "/usr/local/bin/kubelet",
                    "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubeconfig",
                    "--cert-dir=/var/lib/kubelet/pki",
                    "--config=/etc/kubernetes/kubelet.yaml",
                    "--hostname-override=talos-1",
                    "--kubeconfig=/etc/kubernetes/kubeconfig-kubelet",
                ),
            ),
        ),
    )


def minikube() -> Host:
    """minikube: the version stands in the path; --config twice, of which the last counts."""
    return Host(
        {
            "/var/lib/kubelet/config.yaml": KUBEADM_CONFIG,
            "/var/lib/kubelet/other.yaml": HEAD + "readOnlyPort: 10255\n",
        },
        (
            Run(
                "/var/lib/minikube/binaries/v1.31.0/kubelet",
                (
                    "/var/lib/minikube/binaries/v1.31.0/kubelet",
                    "--config=/var/lib/kubelet/other.yaml",
                    "--config=/var/lib/kubelet/config.yaml",
                    "--hostname-override=minikube",
                    "--kubeconfig=/etc/kubernetes/kubelet.conf",
                ),
            ),
        ),
    )


def findings(host: Host, folder: Path) -> Mapping[str, Finding]:
    """What is found of the kubelet of a host an hour after its boot, by check."""
    report = scan(TreeHost(build(host, folder / "host")), select(["kubelet.*"]), at=BOOT + 3600)
    return {f.check: f for f in report.findings}


HOSTS: dict[str, Callable[[], Host]] = {
    "kubeadm-image": kubeadm_image,
    "k3s-1.32": k3s_132,
    "k3s-1.30-agent": k3s_130_agent,
    "rke2-1.32.2": rke2,
    "eks-al2023": eks_al2023,
    "eks-1.28": eks_128,
    "aks-flags": aks_flags,
    "aks-file": aks_file,
    "gke": gke,
    "openshift": openshift,
    "microk8s": microk8s,
    "k0s": k0s,
    "talos": talos,
    "minikube": minikube,
}
