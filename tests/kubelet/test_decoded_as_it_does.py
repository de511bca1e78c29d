"""Files that a kubelet decodes or finds otherwise than they read, and with which none starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kubelet_hosts import HEAD, Host, Run, findings
from nodeward.model import Status

CONFIG = "/var/lib/kubelet/config.yaml"
PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.UNKNOWN
ANONYMOUS, READ_ONLY = "kubelet.authn.anonymous", "kubelet.port.readonly"
IGNORED = "kubelet.config.ignored-field"
TYPE = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"}


def node(
    config: str,
    *arguments: str,
    files: Mapping[str, str] | None = None,
    version: str = "v1.36.2",
    environ: tuple[str, ...] = (),
) -> Host:
    """A kubelet of this version with --config, these arguments, and further files."""
    words = ("kubelet", f"--config={CONFIG}", *arguments)
    run = Run(f"/opt/{version}/kubelet", words, environ)
    return Host({CONFIG: config, **(files or {})}, (run,))


def dropin(text: str, *, base: str = "", version: str = "v1.36.2") -> Host:
    """One with a drop-in of this text."""
    files = {"/d/1.conf": HEAD + text}
    return node(HEAD + base, "--config-dir=/d", files=files, version=version)


def twice(key: str, first: Any, second: Any) -> str:
    """JSON that names a key twice."""
    return f'{json.dumps(TYPE)[:-1]}, "{key}": {json.dumps(first)}, "{key}": {json.dumps(second)}}}'


OPEN = {"anonymous": {"enabled": True}}
AGAIN = twice("authentication", OPEN, {"webhook": {"enabled": True}})
CASES = {
    # name: (host, check, verdict)
    "a merge key after a key of the mapping wins over it": (
        node(HEAD + "x: &open {enabled: true}\nauthentication:\n  anonymous:\n"
             "    enabled: false\n    <<: *open\n"),
        ANONYMOUS, FAIL,
    ),
    "of two equal keys of a JSON file the first object counts too": (
        node(AGAIN), ANONYMOUS, FAIL,
    ),
    "two equal keys of a JSON file are told": (
        node(AGAIN), IGNORED, FAIL,
    ),
    "what begins with a brace and is no JSON starts no kubelet": (
        node("{kind: KubeletConfiguration, apiVersion: kubelet.config.k8s.io/v1beta1}"),
        ANONYMOUS, UNKNOWN,
    ),
    "and that is said": (
        node("{kind: KubeletConfiguration, apiVersion: kubelet.config.k8s.io/v1beta1}"),
        IGNORED, FAIL,
    ),
    "a key twice in a drop-in starts no kubelet from 1.29 on": (
        dropin("readOnlyPort: 10255\nreadOnlyPort: 0\n", version="v1.29.0"), READ_ONLY, UNKNOWN,
    ),
    "a key twice in a drop-in is told": (
        dropin("readOnlyPort: 10255\nreadOnlyPort: 0\n"), IGNORED, FAIL,
    ),
    "of a YAML file the last of two equal keys counts": (
        node(HEAD + "readOnlyPort: 0\nreadOnlyPort: 10255\n"), READ_ONLY, FAIL,
    ),
    "a directive of YAML 1.2 starts no kubelet": (
        node("%YAML 1.2\n---\n" + HEAD), READ_ONLY, UNKNOWN,
    ),
    "a directive of YAML 1.1 does": (
        node("%YAML 1.1\n---\n" + HEAD), READ_ONLY, PASS,
    ),
    "what is broken in a second document is never looked at": (
        node(HEAD + "readOnlyPort: 10255\n---\na: [\n"), READ_ONLY, FAIL,
    ),
    "a mode in base64 is the mode": (
        node(HEAD + "authorization: {mode: !!binary QWx3YXlzQWxsb3c=}\n"),
        "kubelet.authz.mode", FAIL,
    ),
    "from 1.32 on a key of a drop-in counts whatever its case": (
        dropin("readonlyport: 10255\n"), READ_ONLY, FAIL,
    ),
    "but not one that comes before the field's own, which the file has set": (
        dropin("Authentication: {anonymous: {enabled: false}}\n",
               base="authentication: {anonymous: {enabled: true}}\n"), ANONYMOUS, FAIL,
    ),
    "a key of the file counts by its own case alone, with drop-ins too": (
        dropin("maxPods: 5\n", base="protectKerneldefaults: true\n"),
        "kubelet.protect-kernel-defaults", FAIL,
    ),
    "before 1.32 one that comes before the Go name of its field is lost": (
        dropin("AUTHENTICATION: {anonymous: {enabled: false}}\n", version="v1.30.2",
               base="authentication: {anonymous: {enabled: true}}\n"), ANONYMOUS, FAIL,
    ),
    "and one that comes after it counts": (
        dropin("Readonlyport: 10255\n", version="v1.30.2"), READ_ONLY, FAIL,
    ),
    "a Go name inside counts as the field": (
        dropin("Authentication: {Anonymous: {Enabled: true}}\n", version="v1.30.2"),
        ANONYMOUS, FAIL,
    ),
    "1.28 knows a key by its own case alone": (
        dropin("readonlyport: 10255\n", version="v1.28.4"), READ_ONLY, UNKNOWN,
    ),
    "1.27 starts with no --config-dir": (
        dropin("", version="v1.27.3"), READ_ONLY, UNKNOWN,
    ),
    "which is said": (
        dropin("", version="v1.27.3"), IGNORED, FAIL,
    ),
    "1.29 starts with one only where its environment says so": (
        dropin("", version="v1.29.3"), IGNORED, FAIL,
    ),
    "1.30 starts with one": (
        dropin("", version="v1.30.3"), IGNORED, PASS,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("host", "check", "verdict"), CASES.values(), ids=CASES)
def test_it_is_judged_as_it_is_decoded(
    tmp_path: Path, host: Host, check: str, verdict: Status
) -> None:
    found = findings(host, tmp_path)[check]
    assert found.status is verdict, found.because


def at(path: str, files: Mapping[str, str], *, cwd: str = "/", links: str = "") -> Host:
    """A kubelet with this --config, and these files; `links` is where its standard input leads."""
    run = Run("/opt/v1.36.2/kubelet", ("kubelet", f"--config={path}"), cwd=cwd)
    given = {"/proc/812/fd/0": f"->{links}"} if links else {}
    return Host({**files, **given}, (run,))


CLOSED, OPENED = HEAD + "readOnlyPort: 0\n", HEAD + "readOnlyPort: 10255\n"
PLACES = {
    # name: (host, verdict)
    "a .. after a link is taken from the text, as filepath.Abs does": (
        at("/k/l/../c.yaml", {"/k/c.yaml": OPENED, "/k/l": "->/k/real/sub",
                              "/k/real/sub/x": "", "/k/real/c.yaml": CLOSED}), FAIL,
    ),
    "/proc/self/cwd is the kubelet's": (
        at("/proc/self/cwd/c.yaml", {"/srv/c.yaml": OPENED, "/c.yaml": CLOSED}, cwd="/srv"), FAIL,
    ),
    "/proc/self/root is its root": (
        at("/proc/self/root/srv/c.yaml", {"/srv/c.yaml": OPENED}), FAIL,
    ),
    "/dev/stdin is what it was given": (
        at("/dev/stdin", {"/srv/c.yaml": OPENED}, links="/srv/c.yaml"), FAIL,
    ),
    "/dev/fd/0 too": (
        at("/dev/fd/0", {"/srv/c.yaml": OPENED}, links="/srv/c.yaml"), FAIL,
    ),
    "a link to /dev/stdin too": (
        at("/etc/c.yaml", {"/etc/c.yaml": "->/dev/stdin", "/srv/c.yaml": OPENED},
           links="/srv/c.yaml"), FAIL,
    ),
    "a link below /proc/self too": (
        at("/etc/c.yaml", {"/etc/c.yaml": "->../proc/self/cwd/c.yaml", "/srv/c.yaml": OPENED,
                           "/c.yaml": CLOSED}, cwd="/srv"), FAIL,
    ),
    "a pipe cannot be read twice": (
        at("/dev/stdin", {"/srv/c.yaml": OPENED}, links="pipe:[4711]"), UNKNOWN,
    ),
    "a link to itself by way of /proc/self is no file": (
        at("/etc/c.yaml", {"/etc/c.yaml": "->/proc/self/root/etc/c.yaml"}), UNKNOWN,
    ),
    "another file of its process is not known": (
        at("/proc/self/environ", {"/srv/c.yaml": CLOSED}), UNKNOWN,
    ),
    "one in a root of its own is found from its own directory": (
        Host({"/mnt/k/srv/c.yaml": OPENED, "/mnt/k/c.yaml": CLOSED,
              "/proc/812/root": "->/mnt/k"},
             (Run("/mnt/k/opt/v1.36.2/kubelet", ("kubelet", "--config=c.yaml"),
                  cwd="/mnt/k/srv"),)), FAIL,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("host", "verdict"), PLACES.values(), ids=PLACES)
def test_the_file_is_that_which_the_kubelet_opened(
    tmp_path: Path, host: Host, verdict: Status
) -> None:
    found = findings(host, tmp_path)[READ_ONLY]
    assert found.status is verdict, found.because


BAD = HEAD + "authentication: {anonymous: {enabled: true}}\n"
BESIDE = {
    # name: the arguments of a program that is not named kubelet, and whether it is one
    "a kubelet's": (("--config=/bad.yaml", "--kubeconfig=/k", "--node-ip=10.0.0.1"), FAIL),
    "a kubelet's in single words": (("--config", "/bad.yaml", "--max-pods", "5"), FAIL),
    "a kubelet's by the kind of its file": (("--config=/bad.yaml",), FAIL),
    "a supervisor's": (("agent", "--node-ip=10.0.0.1"), PASS),
    "a wrapper's": (("/opt/kubelet", "--config=/bad.yaml", "--node-ip=10.0.0.1"), PASS),
    "of cri-dockerd": (("--container-runtime-endpoint=fd://", "--network-plugin=cni",
                        "--pod-infra-container-image=pause"), PASS),
    "of one with flags of its own": (("--node-ip=10.0.0.1", "--my-own=1"), PASS),
    "a kubelet's with flags that we do not know": (
        ("-v=2", "--config=/bad.yaml", "--kubeconfig=/k", "--containerd=/run/c.sock"), FAIL),
    "a kubelet's by its flags": (
        ("--kubeconfig=/k", "--node-ip=10.0.0.1", "--register-node", "--anonymous-auth"), FAIL),
    "of cilium-agent": (("--config-dir=/tmp/cilium/config-map",), PASS),
    "of CRI-O": (("--config-dir=/etc/crio/crio.conf.d",), PASS),
    "of one that asks a cluster for nodes": (("--kubeconfig=/k", "--node-labels=a=b"), PASS),
    "of kube-proxy": (("--config=/proxy.yaml", "--hostname-override=n"), PASS),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "verdict"), BESIDE.values(), ids=BESIDE)
def test_a_kubelet_of_any_name_beside_one_is_judged(
    tmp_path: Path, arguments: tuple[str, ...], verdict: Status
) -> None:
    good = Run("/opt/v1.36.2/kubelet", ("kubelet", f"--config={CONFIG}"), pid=900)
    other = Run("/opt/v1.36.2/node-main", ("node-main", *arguments), pid=800)
    files = {CONFIG: HEAD, "/bad.yaml": BAD, "/proxy.yaml": "kind: KubeProxyConfiguration\n"}
    found = findings(Host(files, (good, other)), tmp_path)[ANONYMOUS]
    assert found.status is verdict, found.because
