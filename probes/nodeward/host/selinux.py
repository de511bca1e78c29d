"""Ask SELinux's policy a question through selinuxfs. Changes nothing: it is a transaction file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from nodeward.host.base import HostError, OfflineError, translate
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

FOLDER = "/sys/fs/selinux"
KERNEL = "system_u:system_r:kernel_t:s0"


@dataclass(frozen=True, slots=True)
class MayRequestModule(Query[bool]):
    """Whether a process in this context may make the kernel load a module.

    security_compute_av(3) for class `system`, permission `module_request`, target kernel_t.
    MissingError where SELinux is off; OfflineError in another mount of selinuxfs.
    """

    answer_type: ClassVar[object] = bool

    context: str

    def answer(self, host: TreeHost) -> bool:
        if not isinstance(host, LiveHost):
            raise OfflineError(FOLDER, "offline")
        number = _number(host, f"{FOLDER}/class/system/index")
        bit = _number(host, f"{FOLDER}/class/system/perms/module_request")
        path = f"{host.root.rstrip('/')}{FOLDER}/access"
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as exc:
            raise translate(path, exc) from exc
        try:
            os.write(file, f"{self.context} {KERNEL} {number}".encode())
            # "allowed decided auditallow auditdeny seqno flags"; flag 1 is a permissive domain.
            words = os.read(file, 4096).split()
            return bool(int(words[0], 16) >> (bit - 1) & 1) or bool(int(words[5]) & 1)
        except OSError as exc:
            raise translate(path, exc) from exc
        except (ValueError, IndexError) as exc:
            raise HostError(path, "an answer we do not understand") from exc
        finally:
            os.close(file)


def _number(host: TreeHost, path: str) -> int:
    try:
        return int(host.read(path))
    except ValueError:
        raise HostError(path, "no number") from None
