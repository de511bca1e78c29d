"""Credentials that provisioning and the cloud provider leave on the node's disk."""

from __future__ import annotations

from nodeward.checks.metadata_samples import SAC
from nodeward.facts.provisioning import CloudConfigs, KeptFile, ProvisioningFiles
from nodeward.model import (
    Absent,
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

_USER_DATA = "/var/lib/cloud/instances/i-0/user-data.txt"
_TOKEN = (("bootstrap token", 1),)


def _one(mode: int, *found: tuple[str, int], problem: str = "") -> ProvisioningFiles:
    return ProvisioningFiles((KeptFile(_USER_DATA, mode, 0, found, True, problem),))


@check(
    "meta.provisioning-files",
    title="What set the node up leaves no credential on its disk",
    why=(
        "cloud-init and the clouds' agents keep what the node was started with: scripts and"
        " settings that often hold a bootstrap token, a password or a key. nodeward counts what"
        " looks like one, by shape, and keeps nothing of the content."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Give the node short-lived credentials from its identity in place of written ones, take"
        " what is left off the disk after joining, and let only root read these files.",
        steps=(f"chmod 600 {_USER_DATA}", "cloud-init clean --logs  # in an image, before capture"),
        breaks="After `cloud-init clean` the next boot provisions the node anew.",
    ),
    sources=[
        SAC,
        Source(
            "cloud-init: instance data and who may read it",
            "https://docs.cloud-init.io/en/latest/explanation/instancedata.html",
        ),
    ],
    mappings={"sac": ["S10d"], "nsa-cisa-1.2": ["CL"]},
    examples=lambda: [
        Example(Status.PASS, _one(0o600)),
        Example(Status.FAIL, _one(0o644, *_TOKEN), "a token that every account can read"),
        Example(Status.FAIL, _one(0o600, *_TOKEN), "a token that root can read (medium)"),
        Example(Status.FAIL, _one(0o644), "user data that every account can read (medium)"),
        Example(
            Status.PASS,
            ProvisioningFiles((KeptFile("/etc/eks/bootstrap.sh", 0o755, 0),)),
            "a public script without a credential",
        ),
        Example(Status.UNKNOWN, _one(0o600, problem="EACCES"), "its content may not be read"),
        Example(Status.UNKNOWN, Unreadable("/var/lib/cloud/instances", "EACCES")),
        Example(Status.NOT_APPLICABLE, Absent("provisioning data")),
    ],
)
def provisioning_files(kept: ProvisioningFiles) -> Verdict:
    bad = [f for f in kept.files if f.found or (f.private and f.by_others)]
    bad.sort(key=lambda f: (_weight(f), f.path))
    if bad:
        first = bad[0]
        rest = f", and {len(bad) - 1} more files" if len(bad) > 1 else ""
        return Verdict.failed(
            f"{first.path}: {first.shown}{rest}",
            *most([Evidence("provisioning data", f.shown, f.path) for f in bad]),
            severity=Severity.HIGH if _weight(first) == 0 else Severity.MEDIUM,
        )
    dark = [f for f in kept.files if f.problem]
    if dark:
        return Verdict.unknown(f"{dark[0].path} could not be looked into: {dark[0].problem}")
    return Verdict.passed(f"{len(kept.files)} files hold nothing that looks like a credential")


def _weight(file: KeptFile) -> int:
    """0: a credential within everybody's reach; 1: a credential; 2: within reach, none seen."""
    if file.found:
        return 0 if file.by_others else 1
    return 2


def _config(mode: int, *found: tuple[str, int], problem: str = "") -> CloudConfigs:
    file = KeptFile("/etc/kubernetes/azure.json", mode, 0, found, True, problem)
    return CloudConfigs((file,))


@check(
    "meta.cloud-config",
    title="The cloud provider's configuration holds no secret, and only its owner can read it",
    why=(
        "azure.json, cloud.conf and their like may hold the secret by which the cluster acts in"
        " the cloud. A managed identity needs none. nodeward looks for the names of the settings"
        " and never keeps a value."
    ),
    severity=Severity.HIGH,
    remedy=Remedy(
        "Use the platform's managed identity in place of a secret, and set mode 600.",
        steps=("chmod 600 /etc/kubernetes/azure.json",),
        breaks="A component that runs as another user than root can no longer read the file.",
    ),
    sources=[
        SAC,
        Source(
            "Azure cloud provider: configuration",
            "https://cloud-provider-azure.sigs.k8s.io/install/configs/",
        ),
    ],
    mappings={"sac": ["S10b"]},
    examples=lambda: [
        Example(Status.PASS, _config(0o600)),
        Example(Status.FAIL, _config(0o644, ("aadClientSecret", 1)), "every account can read it"),
        Example(Status.FAIL, _config(0o600, ("aadClientSecret", 1)), "a secret (medium)"),
        Example(Status.FAIL, _config(0o640), "no secret, but more than the owner reads it (low)"),
        Example(Status.UNKNOWN, _config(0o600, problem="EACCES"), "its content may not be read"),
        Example(Status.NOT_APPLICABLE, Absent("a cloud configuration")),
    ],
)
def cloud_config(configs: CloudConfigs) -> Verdict:
    bad = [f for f in configs.files if f.found or f.beyond_owner]
    bad.sort(key=lambda f: (not f.found, not f.by_others, f.path))
    if bad:
        first = bad[0]
        severity = Severity.HIGH if first.by_others else Severity.MEDIUM
        return Verdict.failed(
            f"{first.path}: {first.shown}",
            *most([Evidence("cloud configuration", f.shown, f.path) for f in bad]),
            severity=severity if first.found else Severity.LOW,
        )
    dark = [f for f in configs.files if f.problem]
    if dark:
        return Verdict.unknown(f"{dark[0].path} could not be looked into: {dark[0].problem}")
    return Verdict.passed(f"{configs.files[0].path}: {configs.files[0].shown}, no secret in it")
