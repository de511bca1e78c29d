"""A node full of secrets, each of which stands nowhere else: none of them may ever be shown."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import kubeadm_tree

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(slots=True)
class Canaries:
    """What was planted: the name of the place, and the texts that would give the secret away."""

    root: Path
    texts: dict[str, list[str]] = field(default_factory=dict)

    def found_in(self, said: str | bytes) -> list[str]:
        """The places whose secret is in what was said, in any encoding that we could make of it."""
        raw = said.encode("utf-8", "surrogateescape") if isinstance(said, str) else said
        return sorted(
            name
            for name, texts in self.texts.items()
            if any(t.encode() in raw or json.dumps(t)[1:-1].encode() in raw for t in texts)
        )

    def word(self, place: str, length: int = 24) -> str:
        """A new secret of letters and digits. It begins like no other text."""
        text = "Zq" + secrets.token_hex(length)[: length - 2]
        self.texts[place] = [text, base64.b64encode(text.encode()).decode().rstrip("=")[:-2]]
        return text

    def key(self, place: str, pem: bytes) -> bytes:
        """A private key: no line of its text may be seen, in base64 again neither."""
        body = [line for line in pem.decode().split("\n")[1:-2] if len(line) > 30]
        whole = base64.b64encode(pem).decode()
        self.texts[place] = [*body, whole[60:120]]
        return pem

    def put(self, path: str, content: str | bytes, mode: int = 0o600) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)

    def change(self, path: str, edit: Callable[[str], str]) -> None:
        file = self.root / path.lstrip("/")
        self.put(path, edit(file.read_text()), file.stat().st_mode & 0o777)


def pem(key: Key, form: PrivateFormat, lock: bytes | None = None) -> bytes:
    return key.private_bytes(
        Encoding.PEM, form, BestAvailableEncryption(lock) if lock else NoEncryption()
    )


def plant(root: Path) -> Canaries:
    """Put a secret at each place we know of into a tree of kubeadm_tree.build."""
    c = Canaries(root)
    _keys(c)
    _kubeconfigs(c)
    _arguments(c)
    _files(c)
    return c


def _keys(c: Canaries) -> None:
    pki = "/etc/kubernetes/pki"
    one, two = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
    c.put(f"{pki}/apiserver.key", c.key("PKCS#8", pem(one, PrivateFormat.PKCS8)))
    c.put(f"{pki}/sa.key", c.key("PKCS#1", pem(one, PrivateFormat.TraditionalOpenSSL)))
    c.put(f"{pki}/ca.key", c.key("SEC 1", pem(two, PrivateFormat.TraditionalOpenSSL)))
    locked = pem(one, PrivateFormat.PKCS8, b"x")
    c.put(f"{pki}/front-proxy-ca.key", c.key("encrypted PKCS#8", locked))
    openssh = pem(ed25519.Ed25519PrivateKey.generate(), PrivateFormat.OpenSSH)
    c.put("/root/.ssh/id_ed25519", c.key("OpenSSH", openssh))
    c.put("/etc/ssh/ssh_host_ed25519_key", openssh)
    der = two.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    c.put(f"{pki}/etcd/server.key", der)
    c.texts["DER"] = [der[40:80].hex(), base64.b64encode(der[:90]).decode()[40:100]]
    client = c.key("key beside a certificate", pem(one, PrivateFormat.PKCS8)).decode()
    path = "/var/lib/kubelet/pki/kubelet-client-2026-11-22-03-52-20.pem"
    c.change(path, lambda text: text + client)


def _kubeconfigs(c: Canaries) -> None:
    def config(user: dict[str, object]) -> str:
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "k", "cluster": {"server": "https://10.99.0.10:6443"}}],
                "contexts": [{"name": "x", "context": {"cluster": "k", "user": "u"}}],
                "current-context": "x",
                "users": [{"name": "u", "user": user}],
            },
            indent=1,
        )

    one = ec.generate_private_key(ec.SECP256R1())
    data = base64.b64encode(c.key("key in a kubeconfig", pem(one, PrivateFormat.PKCS8))).decode()
    c.put("/etc/kubernetes/admin.conf", config({"client-key-data": data}))
    c.put("/etc/kubernetes/scheduler.conf", config({"token": c.word("token in a kubeconfig")}))
    c.put(
        "/etc/kubernetes/controller-manager.conf",
        config({"username": "admin", "password": c.word("password in a kubeconfig")}),
    )
    bootstrap = f"{secrets.token_hex(3)}.{secrets.token_hex(8)}"
    c.texts["bootstrap token"] = [bootstrap.partition(".")[2]]
    c.put("/etc/kubernetes/bootstrap-kubelet.conf", config({"token": bootstrap}))
    c.put("/root/.kube/config", config({"exec": {
        "command": "/usr/bin/get-token", "apiVersion": "client.authentication.k8s.io/v1",
        "args": ["--secret", c.word("argument of a credential plugin")],
        "env": [{"name": "AWS_KEY", "value": c.word("environment of a credential plugin")}],
    }}))  # fmt: skip


def _arguments(c: Canaries) -> None:
    argv = (c.root / "proc/1202/cmdline").read_bytes()
    etcd = f"--etcd-servers=https://root:{c.word('password in a URL')}@127.0.0.1:2379"
    more = [etcd, "--token-auth-file=/etc/kubernetes/tokens.csv",
            "--encryption-provider-config=/etc/kubernetes/enc.yaml"]  # fmt: skip
    (c.root / "proc/1202/cmdline").write_bytes(argv + "".join(a + "\0" for a in more).encode())
    database = ["mysqld", f"--password={c.word('password in arguments')}", "--api-key",
                c.word("key in two arguments")]  # fmt: skip
    folder = kubeadm_tree.add_process(c.root, 4001, database, exe="/usr/sbin/mysqld")
    environ = f"PATH=/bin\0DB_PASSWORD={c.word('environment')}\0PLAIN={c.word('plain variable')}\0"
    (folder / "environ").write_text(environ)
    (c.root / "proc/1201/environ").write_text(
        f"KUBELET_TOKEN={c.word('environment of the kubelet')}\0HOME={c.word('its home')}\0"
    )
    (c.root / "proc/cmdline").write_text(f"quiet ds.password={c.word('kernel command line')}\n")


def _files(c: Canaries) -> None:
    c.put("/etc/kubernetes/tokens.csv", f"{c.word('static token')},admin,1,system:masters\n")
    enc = "kind: EncryptionConfiguration\nresources:\n- providers:\n  - aescbc:\n      keys:\n"
    enc += f"      - name: key1\n        secret: {c.word('encryption key', 44)}\n"
    c.put("/etc/kubernetes/enc.yaml", enc)
    c.change(
        "/var/lib/kubelet/config.yaml",
        lambda text: text + "staticPodURL: https://u:" + c.word("password of a pod URL")
        + "@10.0.0.1/x\nstaticPodURLHeader:\n  Authorization:\n  - Bearer "
        + c.word("header of a pod URL") + "\n",
    )  # fmt: skip
    c.change(
        "/etc/kubernetes/manifests/static-web.yaml",
        lambda text: text.replace("hunter2-fixture", c.word("environment of a pod")),
    )
    c.put(
        "/etc/kubernetes/manifests/job.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: job}\nspec:\n  hostNetwork: true\n"
        f"  containers:\n  - name: job\n    image: x\n    args: [--token, {c.word('pod argument')}]"
        f"\n    command: [sh, -c, 'curl -u admin:{c.word('pod command')} https://x']\n",
    )
    c.put(
        "/var/lib/cloud/instance/user-data.txt",
        f"#cloud-config\npassword: {c.word('cloud-init')}\nchpasswd: {{expire: false}}\n",
    )
    login = {
        "auths": {
            "registry": {
                "auth": base64.b64encode(f"me:{c.word('registry login')}".encode()).decode()
            }
        }
    }
    c.put("/var/lib/kubelet/config.json", json.dumps(login), 0o644)
    c.put("/root/.docker/config.json", json.dumps(login))
    c.change(
        "/etc/containerd/config.toml",
        lambda text: (
            text + '[plugins."io.containerd.grpc.v1.cri".registry.configs."r".auth]\n'
            f'  password = "{c.word("registry password")}"\n'
        ),
    )
    c.put(
        "/etc/kubernetes/azure.json",
        json.dumps({"aadClientSecret": c.word("cloud credential")}),
        0o644,
    )
    c.put("/root/.aws/credentials", f"[default]\naws_secret_access_key = {c.word('aws key', 40)}\n")
    c.put("/var/lib/rancher/k3s/server/token", f"K10{'a' * 64}::server:{c.word('join token')}")
    c.put(
        "/etc/default/kubelet",
        f"KUBELET_EXTRA_ARGS=--bearer-token={c.word('kubelet defaults')}\n",
        0o644,
    )
    c.put(
        "/etc/systemd/system/kubelet.service.d/20-secret.conf",
        f'[Service]\nEnvironment="API_KEY={c.word("unit")}"\n'
        f"Environment=HTTPS_PROXY=http://u:{c.word('proxy')}@proxy:3128\n",
        0o644,
    )
    c.put(
        "/etc/modprobe.d/odd.conf",
        f"install sctp /usr/bin/notify --token={c.word('modprobe line')} ; /bin/true\n",
        0o644,
    )
    token = ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"RS256"}', secrets.token_bytes(60), secrets.token_bytes(40))
    )
    c.texts["service account token"] = [token.split(".")[1], token.split(".")[2]]
    volume = "volumes/kubernetes.io~projected/kube-api-access-x"
    c.put(f"/var/lib/kubelet/pods/0-1/{volume}/token", token, 0o644)
    c.put("/etc/shadow", f"root:$y$j9T$abcdefghij${c.word('password hash', 43)}:19000:0:::::\n")
    c.put("/etc/rancher/k3s/config.yaml", f"token: {c.word('k3s configuration')}\n")


def spoil(c: Canaries) -> None:
    """Break each text file right behind its secret, so that an error message would quote it."""
    for top in ("etc", "root", "var"):
        for folder, _, names in os.walk(c.root / top):
            for name in names:
                file = Path(folder, name)
                if not file.is_file() or file.is_symlink():
                    continue
                raw = file.read_bytes()
                if any(t.encode() in raw for texts in c.texts.values() for t in texts):
                    file.write_bytes(_broken(c, raw))


def _broken(c: Canaries, raw: bytes) -> bytes:
    for texts in c.texts.values():
        for text in texts:
            place = raw.find(text.encode())
            if place >= 0:
                end = place + len(text)
                return raw[:end] + b"\n\t: [ } \xff" + raw[end:]
    return raw
