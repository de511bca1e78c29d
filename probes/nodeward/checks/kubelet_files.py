"""Whether others than root may read or change what the kubelet lives on."""

from __future__ import annotations

from dataclasses import replace

from nodeward.checks.kubelet_support import CONFIG_FILE, FLAGS, maps
from nodeward.facts import kubelet_files as roles
from nodeward.facts.kubeconfig import ComponentKubeconfigs, Kubeconfigs
from nodeward.facts.kubelet_files import READ, WRITE, FileRow, KubeletFiles, Leak, leaks
from nodeward.facts.node import Node
from nodeward.facts.pki import Folder, Guard
from nodeward.lazy import dataclass
from nodeward.model import (
    Absent,
    Check,
    Evidence,
    Example,
    Remedy,
    Severity,
    Source,
    Status,
    Unreadable,
    Verdict,
    check,
    most,
)

PROVIDER = Source(
    "Kubernetes: kubelet credential provider",
    "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/",
)
VOLUMES = Source(
    "Kubernetes: volume plugins out of tree",
    "https://kubernetes.io/docs/concepts/storage/volumes/#out-of-tree-volume-plugins",
)
STATIC_PODS = Source(
    "Kubernetes: static pods",
    "https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/",
)
DARK = Unreadable("the kubelet's files", "EACCES")
OPEN = (Folder("/etc", 0o40755, 0, 0),)
CLOSED = (Folder("/etc/closed", 0o40700, 0, 0),)
REPLACEABLE = (Folder("/etc/open", 0o40777, 0, 0),)
NO_CONFIGS = Absent("kubeconfigs")


def sample(
    role: str, mode: int, *, uid: int = 0, folders: tuple[Folder, ...] = OPEN
) -> KubeletFiles:
    """One file of a truth table."""
    guard = Guard(0o100000 | mode, uid, 0, 0.0, (), folders)
    return KubeletFiles((FileRow(role, f"/etc/{role.replace(' ', '-')}", guard),))


@dataclass(frozen=True, slots=True)
class Row:
    """One check over the files of a role. `reading`: the severity when others may only read;
    None: they may. `mode` is what the remedy sets."""

    id: str
    title: str
    why: str
    severity: Severity
    role: str
    reading: Severity | None
    mode: str
    source: Source = FLAGS
    cis: tuple[str, ...] = ()
    stig: tuple[str, ...] = ()
    sac: tuple[str, ...] = ()


ROWS = (
    Row(
        "kubelet.file.config-perms",
        "Only root can change or read the kubelet's configuration",
        "Who can write one of these files decides who may command this node from the next restart.",
        Severity.MEDIUM,
        roles.CONFIG,
        Severity.LOW,
        "0600",
        CONFIG_FILE,
        ("4.1.9", "4.1.10"),
        ("V-242406", "V-242407", "V-242452", "V-242453"),
        ("S4b",),
    ),
    Row(
        "kubelet.file.service-perms",
        "Only root can change the service that starts the kubelet",
        "Flags win over the configuration file, and these files hold the flags.",
        Severity.MEDIUM,
        roles.SERVICE,
        None,
        "0644",
        CONFIG_FILE,
        ("4.1.1", "4.1.2"),
    ),
    Row(
        "kubelet.file.kubeconfig-perms",
        "Only root can read or change the kubelet's kubeconfigs",
        "The kubeconfig is the node's identity: its reader sees every secret of the pods that run"
        " here.",
        Severity.HIGH,
        roles.KUBECONFIG,
        Severity.HIGH,
        "0600",
        FLAGS,
        ("4.1.5", "4.1.6"),
        ("V-242456", "V-242457"),
        ("S15d",),
    ),
    Row(
        "kubelet.file.ca-perms",
        "Only root can change the kubelet's client CA",
        "Who can add a certificate to this file is let in as anybody.",
        Severity.MEDIUM,
        roles.CA,
        None,
        "0644",
        FLAGS,
        ("4.1.7", "4.1.8"),
        ("V-242449", "V-242450"),
    ),
    Row(
        "kubelet.file.root-dir",
        "Only root can look into the kubelet's directory and that of its keys",
        "Below it lie the volumes of all pods, secrets among them, and the kubelet's keys.",
        Severity.MEDIUM,
        roles.ROOT,
        Severity.LOW,
        "0750",
    ),
    Row(
        "kubelet.credential-provider",
        "Only root can change the image credential provider",
        "The kubelet runs these programs as root, and gives what they print to image registries.",
        Severity.HIGH,
        roles.CREDENTIAL,
        None,
        "0755",
        PROVIDER,
        sac=("B16",),
    ),
    Row(
        "kubelet.volume-plugins",
        "Only root can add or change volume plugins",
        "The kubelet runs what it finds here as root.",
        Severity.MEDIUM,
        roles.VOLUME,
        None,
        "0755",
        VOLUMES,
        sac=("S16a",),
    ),
)


def _check(row: Row) -> Check[[KubeletFiles, ComponentKubeconfigs | Absent | Unreadable]]:
    @check(
        row.id,
        title=row.title,
        why=row.why,
        severity=row.severity,
        remedy=Remedy(f"Give the file to root with mode {row.mode}.", (f"chmod {row.mode} FILE",)),
        sources=[row.source],
        mappings=maps(row.cis, (), row.stig, row.sac),
        examples=lambda: [
            Example(Status.PASS, (sample(row.role, 0o600), NO_CONFIGS), "mode 0600"),
            Example(
                Status.FAIL if row.reading else Status.PASS,
                (sample(row.role, 0o644), NO_CONFIGS),
                "mode 0644",
            ),
            Example(Status.FAIL, (sample(row.role, 0o666), NO_CONFIGS), "mode 0666"),
            Example(
                Status.PASS,
                (sample(row.role, 0o666, folders=CLOSED), NO_CONFIGS),
                "mode 0666 below a directory that only root can enter",
            ),
            Example(
                Status.FAIL, (sample(row.role, 0o600, uid=1000), NO_CONFIGS), "of another user"
            ),
            Example(
                Status.FAIL,
                (sample(row.role, 0o600, folders=REPLACEABLE), NO_CONFIGS),
                "in a directory where anyone may replace it",
            ),
            Example(
                Status.UNKNOWN,
                (KubeletFiles((FileRow(row.role, "/etc/f", error="EACCES"),)), NO_CONFIGS),
                "it may not be looked at",
            ),
            Example(Status.UNKNOWN, DARK, "none may be looked at"),
            Example(
                Status.NOT_APPLICABLE,
                (KubeletFiles((FileRow(row.role, "/etc/f", absent=True),)), NO_CONFIGS),
                "there is no such file",
            ),
        ],
    )
    def judge(files: KubeletFiles, configs: ComponentKubeconfigs | Absent | Unreadable) -> Verdict:
        verdict = _judge(row, files)
        if row.role == roles.KUBECONFIG and isinstance(configs, Kubeconfigs):
            return _without_credential(verdict, files, configs)
        return verdict

    return judge


def _without_credential(verdict: Verdict, files: KubeletFiles, configs: Kubeconfigs) -> Verdict:
    """A kubeconfig that only names a certificate's file or a plugin lets nobody in by itself."""
    paths = {f.path for f in files.of(roles.KUBECONFIG) if not f.absent}
    read = [c for c in configs.rows if c.path in paths and not c.error]
    holds = len(read) < len(paths) or any(u.credential for c in read for u in c.users)
    readable = verdict.evidence and verdict.evidence[0].what.endswith(f"{READ} it")
    if verdict.status is not Status.FAIL or holds or not readable:
        return verdict
    because = f"{verdict.because}; it holds no credential itself, so less severe"
    return replace(verdict, because=because, severity=Severity.LOW)


def _judge(row: Row, files: KubeletFiles) -> Verdict:
    rows = files.of(row.role)
    there = [f for f in rows if not f.absent]
    if not there:
        return Verdict.not_applicable(f"no file of the kubelet's {row.role} is here")
    offenders = [
        (file, leak) for file in there for leak in _worst(file, files.owners) if _counts(row, leak)
    ]
    if offenders:
        offenders.sort(key=lambda pair: pair[1].what != WRITE)
        return _failed(row, offenders)
    dark = [f for f in there if f.guard is None]
    if dark:
        return Verdict.unknown(f"could not look at {dark[0].path}: {dark[0].error}")
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    return Verdict.passed(f"{there[0].path}{more}: only root may {_wanted(row, len(there))}")


def _wanted(row: Row, count: int) -> str:
    them = "them" if count > 1 else "it"
    return f"read or change {them}" if row.reading else f"change {them}"


def _worst(file: FileRow, owners: bool) -> list[Leak]:
    return list(leaks(file.guard, owners=owners))[:1] if file.guard is not None else []


def _counts(row: Row, leak: Leak) -> bool:
    return leak.what == WRITE or row.reading is not None


def _failed(row: Row, offenders: list[tuple[FileRow, Leak]]) -> Verdict:
    seen = [Evidence(f"others may {leak.what} it", leak.how, f.path) for f, leak in offenders]
    file, leak = offenders[0]
    severity = row.reading if leak.what == READ else None
    note = " (only to read, so less severe)" if severity not in (None, row.severity) else ""
    return Verdict.failed(
        f"others than root may {leak.what} {file.path}: {leak.how}{note}",
        *most(seen),
        severity=severity,
        remedy=_remedy(row, file, leak),
    )


def _remedy(row: Row, file: FileRow, leak: Leak) -> Remedy:
    if leak.folder:
        return Remedy(
            f"Give {leak.folder} to root, and let nobody else write in it.",
            (f"chown root:root {leak.folder}", f"chmod go-w {leak.folder}"),
        )
    mode = _mode(row, file)
    return Remedy(
        f"Give {file.path} to root with mode {mode}.",
        (f"chown root:root {file.path}", f"chmod {mode} {file.path}"),
    )


def _mode(row: Row, file: FileRow) -> str:
    """The row's mode, as it fits a directory, a program, or a file that is none."""
    mode, now = int(row.mode, 8), file.guard.mode if file.guard is not None else 0
    if file.directory:
        mode |= (mode & 0o444) >> 2
    elif not now & 0o111:
        mode &= ~0o111
    return f"{mode:04o}"


@check(
    "kubelet.static-pod-path",
    title="Static pods are those of root, and only the control plane has any",
    why="What lies in this directory runs with any rights, seen by no admission control.",
    severity=Severity.HIGH,
    remedy=Remedy("Remove manifests that should not be there; chmod 0700 the directory."),
    sources=[STATIC_PODS],
    mappings=maps(stig=["V-242397"], sac=["S3c"]),
    examples=lambda: [
        Example(Status.PASS, (KubeletFiles(()), Absent("node")), "no directory is set"),
        Example(Status.FAIL, (sample(roles.STATIC, 0o666), Absent("node")), "others may write"),
        Example(Status.UNKNOWN, DARK, "none may be looked at"),
    ],
)
def static_pod_path(files: KubeletFiles, node: Node | Absent | Unreadable) -> Verdict:
    named = files.of(roles.STATIC)
    rows = [f for f in named if not f.absent]
    if not rows:
        where = f": {named[0].path} is not there" if named else ""
        return Verdict.passed(f"there is no directory of static pods{where}")
    open_ = [(f, leak) for f in rows for leak in _worst(f, files.owners) if leak.what == WRITE]
    if open_:
        seen = [Evidence("others may change it", leak.how, f.path) for f, leak in open_]
        return Verdict.failed(f"others than root may change {open_[0][0].path}", *most(seen))
    dark = [f for f in rows if f.guard is None]
    if dark:
        return Verdict.unknown(f"could not look at {dark[0].path}: {dark[0].error}")
    pods = [f for f in rows if _is_pod(f)]
    if isinstance(node, Node) and not node.control_plane and pods:
        seen = [Evidence("static pod on a worker", f.path.rpartition("/")[2], f.path) for f in pods]
        return Verdict.failed(f"{len(pods)} static pods on a worker: {pods[0].path}", *most(seen))
    return Verdict.passed(f"{rows[0].path}: only root may change it; {len(pods)} static pods")


def _is_pod(file: FileRow) -> bool:
    """pkg/kubelet/config/file.go: every regular file is read but one whose name begins with a dot,
    whatever it ends in; directories are not entered."""
    regular = file.guard is not None and file.guard.mode & 0o170000 == 0o100000
    return regular and not file.path.rpartition("/")[2].startswith(".")


@check(
    "kubelet.binary-integrity",
    title="The running kubelet is the file on disk, and only root can change that",
    why="A program that was replaced under a running process is either half an upgrade or half an"
    " attack; one that others can write is the node's.",
    severity=Severity.MEDIUM,
    remedy=Remedy(
        "Find out who replaced the program; restart the kubelet.", ("systemctl restart kubelet",)
    ),
    sources=[FLAGS],
    mappings=maps(stig=["V-242442"], sac=["B14"]),
    examples=lambda: [
        Example(Status.PASS, sample(roles.PROGRAM, 0o755), "root's, mode 0755"),
        Example(Status.FAIL, sample(roles.PROGRAM, 0o777), "others may write it"),
        Example(
            Status.FAIL,
            KubeletFiles(
                (FileRow(roles.PROGRAM, "/usr/bin/kubelet", absent=True),), True, "was deleted"
            ),
            "deleted while it runs",
        ),
        Example(Status.UNKNOWN, KubeletFiles(()), "which file runs could not be told"),
        Example(Status.UNKNOWN, DARK, "none may be looked at"),
    ],
)
def binary_integrity(files: KubeletFiles) -> Verdict:
    rows = files.of(roles.PROGRAM)
    if not rows:
        return Verdict.unknown("which file the kubelet runs from could not be told")
    if files.replaced:
        return Verdict.failed(f"{rows[0].path} {files.replaced}")
    for one in rows:
        for leak in leaks(one.guard, owners=files.owners) if one.guard is not None else ():
            if leak.what == WRITE:
                because = f"others than root may change {one.path}: {leak.how}"
                return Verdict.failed(because, Evidence("others may change it", leak.how, one.path))
    dark = [one for one in rows if one.guard is None]
    if dark:
        return Verdict.unknown(f"could not look at {dark[0].path}: {dark[0].error or 'not there'}")
    return Verdict.passed(f"{rows[0].path} is the file that runs, and only root may change it")


CHECKS = tuple(_check(row) for row in ROWS)
