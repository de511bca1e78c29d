"""A stand-in for a cluster of one node: what the chart makes is really run, by runc.

`helm`, `kubectl` and `skopeo` are not to be had here. `Cluster.tools` makes programs of these names
that do what our README asks of them and refuse anything else. Images are not pulled: one that was
not pushed is refused, and one that was is what script/image built. Not imitated: RBAC, seccomp and
AppArmor profiles, networks of pods (all share the node's), probes, quotas.

State lies in a folder, so each call is a process of its own:
    registry/ (pushed references), secrets/NAME/, pods/POD/{CONTAINER/, volumes/, log}, objects.json
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_chart

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
USER = 65532
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cluster:
    """`rootfs` is the unpacked image, `node` the node's name, `host` what a hostPath "/" shows."""

    folder: Path
    rootfs: Path
    node: str = "node-a"
    host: str = "/"

    # -- what an operator calls ------------------------------------------------------------

    def tools(self, at: Path) -> Path:
        """A folder for PATH with the three programs."""
        at.mkdir(parents=True, exist_ok=True)
        path = ":".join(p for p in sys.path if p)
        for name in ("helm", "kubectl", "skopeo"):
            program = at / name
            program.write_text(
                f"#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} {__file__} "
                f'{self.folder} {self.rootfs} {self.node} {self.host} {name} "$@"\n'
            )
            program.chmod(0o755)
        return at

    def skopeo(self, argv: list[str]) -> None:
        match argv:
            case ["copy", archive, target] if archive.startswith("oci-archive:"):
                assert Path(archive.removeprefix("oci-archive:")).is_file()
                pushed = self.folder / "registry"
                pushed.mkdir(exist_ok=True)
                (pushed / target.removeprefix("docker://").replace("/", "|")).touch()
            case _:
                raise SystemExit(f"skopeo: not known here: {argv}")

    def helm(self, argv: list[str]) -> None:
        match argv:
            case ["install", release, _chart, "-n", namespace, "--create-namespace", *more]:
                values = _values(more)
            case _:
                raise SystemExit(f"helm: not known here: {argv}")
        objects = helm_chart.render(values, release=release, namespace=namespace)
        (self.folder / "objects.json").write_text(json.dumps(objects))
        for kind in ("StatefulSet", "DaemonSet"):
            for found in objects:
                if found["kind"] == kind:
                    self.start(found, objects)
        if "--wait" in more:
            for pod in sorted((self.folder / "pods").iterdir()):
                self.until_probed(pod.name, "readinessProbe")
                (pod / "ready").touch()

    def kubectl(self, argv: list[str]) -> None:
        match argv:
            case ["-n", _, "exec", pod, "--", *command]:
                if not (self.folder / "pods" / pod / "ready").exists():  # helm came back at once
                    raise SystemExit(f"error: container not found in {pod}: nobody waited for it")
                (container,) = [p.name for p in (self.folder / "pods" / pod).glob("c-*")]
                done = self._runc("exec", f"{pod}.{container}", *command)
                raise SystemExit(done.returncode)
            case ["-n", _, "create", "secret", "generic", name, given]:
                source = Path(given.removeprefix("--from-file="))
                secret = self.folder / "secrets" / name
                secret.mkdir(parents=True)
                shutil.copy(source, secret / source.name)
                self._project()
            case _:
                raise SystemExit(f"kubectl: not known here: {argv}")

    def stop(self) -> None:
        """End every container that was started."""
        for bundle in self.folder.glob("pods/*/c-*"):
            name = f"{bundle.parent.name}.{bundle.name}"
            self._runc("delete", "--force", name)

    def until_probed(self, pod: str, probe: str, limit_s: float = 120) -> None:
        """Wait until that probe of the pod's only container succeeds."""
        (bundle,) = (self.folder / "pods" / pod).glob("c-*")
        asked = json.loads((bundle / "probes.json").read_text())[probe]
        end = time.monotonic() + limit_s
        while not self._answers(f"{pod}.{bundle.name}", asked):
            assert time.monotonic() < end, (bundle.parent / "log").read_text()[-3000:]
            time.sleep(0.5)

    def _answers(self, container: str, asked: Object) -> bool:
        if "exec" in asked:
            return self._runc("exec", container, *asked["exec"]["command"]).returncode == 0
        where = asked["httpGet"]  # of a pod in the node's network; a kubelet checks no certificate
        client = http.client.HTTPSConnection(
            "127.0.0.1", where["port"], timeout=5, context=ssl._create_unverified_context()
        )
        try:
            client.request("GET", where["path"])
            return 200 <= client.getresponse().status < 400
        except OSError:
            return False
        finally:
            client.close()

    # -- what a kubelet does ---------------------------------------------------------------

    def start(self, workload: Object, objects: list[Object]) -> None:
        """The pod of a DaemonSet, or the first of a StatefulSet."""
        kind = workload["kind"]
        suffix = "0" if kind == "StatefulSet" else "x"
        pod = self.folder / "pods" / f"{workload['metadata']['name']}-{suffix}"
        spec = workload["spec"]["template"]["spec"]
        claims = [c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])]
        volumes = spec["volumes"] + [{"name": name, "claim": {}} for name in claims]
        sources = {v["name"]: self._volume(pod, v, spec, objects) for v in volumes}
        for container in spec.get("initContainers", []):
            self._run(pod, spec, container, sources, wait=True)
        for container in spec["containers"]:
            self._run(pod, spec, container, sources, wait=False)

    def _volume(self, pod: Path, volume: Object, spec: Object, objects: list[Object]) -> Path:
        at: Path = pod / "volumes" / volume["name"]
        if "hostPath" in volume and volume["hostPath"]["path"] == "/":
            return Path(self.host)
        at.mkdir(parents=True)
        if "configMap" in volume:
            found = helm_chart.one(objects, "ConfigMap", volume["configMap"]["name"])
            for key, text in found["data"].items():
                (at / key).write_text(text)
        elif "projected" in volume:
            names = [s["secret"]["name"] for s in volume["projected"]["sources"] if "secret" in s]
            (pod / "projected").write_text(json.dumps({"at": str(at), "secrets": names}))
            (at / "service-account-token").write_text(f"token of {pod.name}")
            self._project()
        else:
            owner = spec.get("securityContext", {}).get("fsGroup", 0)
            os.chown(at, owner, owner)
            at.chmod(0o770)
        return at

    def _project(self) -> None:
        """What a kubelet does when a secret appears: pods that mount it see it."""
        for note in self.folder.glob("pods/*/projected"):
            want = json.loads(note.read_text())
            for name in want["secrets"]:
                for file in (self.folder / "secrets" / name).glob("*"):
                    shutil.copy(file, Path(want["at"], file.name))

    def _run(
        self, pod: Path, spec: Object, container: Object, sources: dict[str, Path], *, wait: bool
    ) -> None:
        image = container["image"]
        if not (self.folder / "registry" / image.replace("/", "|")).exists():
            raise SystemExit(f"{pod.name}: image {image} was never pushed")
        bundle = pod / (("i-" if wait else "c-") + container["name"])
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(
            json.dumps(self._bundle(pod, spec, container, sources), indent=1)
        )
        probes = {k: v for k, v in container.items() if k.endswith("Probe")}
        ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        for probe in probes.values():
            if "httpGet" in probe:
                probe["httpGet"]["port"] = ports[probe["httpGet"]["port"]]
        (bundle / "probes.json").write_text(json.dumps(probes))
        detach = [] if wait else ["--detach"]
        with (pod / "log").open("ab") as log:
            done = self._runc(
                "run", *detach, "--bundle", str(bundle), f"{pod.name}.{bundle.name}", log=log
            )
        if done.returncode:
            raise SystemExit(f"{pod.name}: {(pod / 'log').read_text()}")

    def _bundle(
        self, pod: Path, spec: Object, container: Object, sources: dict[str, Path]
    ) -> Object:
        context = spec.get("securityContext", {}) | container["securityContext"]
        rights = [f"CAP_{name}" for name in context["capabilities"].get("add", [])]
        assert context["capabilities"]["drop"] == ["ALL"]
        uid, gid = context["runAsUser"], context["runAsGroup"]
        # As Kubernetes: who is not root has no ambient capability, so none.
        sets = ("bounding", "effective", "permitted") if uid == 0 else ("bounding",)
        namespaces = ["mount", "ipc", "uts"] + ([] if spec.get("hostPID") else ["pid"])
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": ["/opt/nodeward/bin/nodeward", *container["args"]],
                "env": ["PATH=/opt/nodeward/bin:/usr/bin:/bin", *self._environment(container)],
                "cwd": "/",
                "capabilities": dict.fromkeys(sets, rights),
                "noNewPrivileges": not context["allowPrivilegeEscalation"],
            },
            "root": {"path": str(self.rootfs), "readonly": context["readOnlyRootFilesystem"]},
            "mounts": [*self._mounts(pod, spec, container, sources)],
            "linux": {"namespaces": [{"type": name} for name in namespaces]},
        }

    def _environment(self, container: Object) -> list[str]:
        found = []
        for variable in container.get("env", []):
            value = variable.get("value")
            if value is None:
                assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName"
                value = self.node
            found.append(f"{variable['name']}={value}")
        return found

    def _mounts(
        self, pod: Path, spec: Object, container: Object, sources: dict[str, Path]
    ) -> list[Object]:
        found = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            _bind(self.folder / "hosts", "/etc/hosts", "ro"),
        ]
        if spec["automountServiceAccountToken"]:
            found.append(_bind(self.folder / "account", ACCOUNT, "ro"))
        for mount in container["volumeMounts"]:
            slave = ["rslave"] if mount.get("mountPropagation") == "HostToContainer" else []
            access = "ro" if mount.get("readOnly") else "rw"
            found.append(_bind(sources[mount["name"]], mount["mountPath"], access, *slave))
        return found

    def _runc(self, *argv: str, log: Any = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["runc", "--root", self.folder / "runc", *argv],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
        )  # fmt: skip


def _bind(source: Path, destination: str, *options: str) -> Object:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
    }


def _values(argv: list[str]) -> Object:
    """`--set a.b=c` and `--wait`."""
    values: Object = {}
    words = iter(argv)
    for word in words:
        if word == "--wait":
            continue
        assert word == "--set", f"helm: not known here: {word}"
        path, _, value = next(words).partition("=")
        at = values
        *above, last = path.split(".")
        for key in above:
            at = at.setdefault(key, {})
        at[last] = value
    return values


if __name__ == "__main__":
    folder, rootfs, node, host, tool, *rest = sys.argv[1:]
    getattr(Cluster(Path(folder), Path(rootfs), node, host), tool)(rest)
