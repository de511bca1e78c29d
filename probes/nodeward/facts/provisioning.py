"""What set the node up, and how it talks to its cloud, on its disk: modes and counts only."""

from __future__ import annotations

from collections.abc import Mapping

from nodeward.lazy import dataclass
from nodeward.model import Fact

# What gives a credential away, by its shape. A value that is a variable is none.
SECRETS: Mapping[str, str] = {
    "private key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----",
    "bootstrap token": r"(?<![\w.-])[a-z0-9]{6}\.[a-z0-9]{16}(?![\w.-])",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "AWS secret key": r"(?i)aws_?secret_?(?:access_?)?key[\"']?\s*[:=]\s*[\"']?[^\s\"'$]{16,}",
    "web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.",
    "token": r"(?im)^[ \t\"'-]*token[\"']?\s*[:=]\s*[\"']?[^\s\"'$<{]{8,}",
    "token argument": r"--token[= ][\"']?[^\s\"'$<{]{8,}",
    "password": (
        r"(?i)(?<![\w-])(?:plain_text_)?(?:password|passwd|admin_?pass)[\"']?\s*[:=]\s*[\"']?"
        r"(?!true\b|false\b|null\b|random\b)[^\s\"'$<{]{6,}"
    ),
    "client secret": (r"(?i)client_?secret[\"']?\s*[:=]\s*[\"']?(?!msi\b)[^\s\"',$<{]{8,}"),
}

# Settings of a cloud configuration that hold a credential, and the value that holds none: with a
# managed identity AKS writes "msi".
INLINE: Mapping[str, str] = {
    "aadClientSecret": r"(?i)\"?aadClientSecret\"?\s*[:=]\s*\"?(?!msi\b)[^\s\",]+",
    "aadClientCertPassword": r"(?i)\"?aadClientCertPassword\"?\s*[:=]\s*\"?(?!msi\b)[^\s\",]+",
    "application-credential-secret": r"(?im)^\s*application-credential-secret\s*[:=]\s*\S",
    "password": r"(?im)^\s*\"?password\"?\s*[:=]\s*\"?[^\s\"]",
    "secret-access-key": r"(?im)^\s*\"?secret[-_]?access[-_]?key\"?\s*[:=]\s*\"?[^\s\"]",
    "private_key": r"\"private_key\"\s*:\s*\"-----BEGIN",
}
MANAGED = {
    "managed identity": r"(?i)\"?useManagedIdentityExtension\"?\s*[:=]\s*\"?true",
}


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One file: its permission bits, and how often each pattern of its kind fits.

    `private` says that it holds what the operator wrote for this machine alone, whatever is seen
    in it. `problem` says why its content was not looked at.
    """

    path: str
    mode: int
    uid: int
    found: tuple[tuple[str, int], ...] = ()
    private: bool = False
    problem: str = ""

    @property
    def by_others(self) -> bool:
        return bool(self.mode & 0o004)

    @property
    def beyond_owner(self) -> bool:
        return bool(self.mode & 0o077)

    @property
    def shown(self) -> str:
        counts = ", ".join(f"{count} x {name}" for name, count in self.found)
        return f"mode {self.mode & 0o7777:04o}" + (f"; {counts}" if counts else "")


@dataclass(frozen=True, slots=True)
class ProvisioningFiles(Fact):
    """Data of cloud-init and of the clouds' agents. Absent where there is none."""

    files: tuple[KeptFile, ...]


@dataclass(frozen=True, slots=True)
class CloudConfigs(Fact):
    """Configuration of the cloud provider; `managed` are files that name a managed identity."""

    files: tuple[KeptFile, ...]
    managed: tuple[str, ...] = ()
