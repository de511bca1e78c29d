#!/usr/bin/python3
"""A virtualisation server of autopkgtest: a node that has booted. Its argument is the node's leader.

Debian's own servers want ssh, or boot machines of their own. Speaks autopkgtest-virt-server(1) through
autopkgtest's own library, so it runs with the system's Python.
"""

import sys

sys.path.insert(0, "/usr/share/autopkgtest/lib")
import VirtSubproc


def hook_open():
    VirtSubproc.auxverb = [
        "nsenter", "--target", sys.argv[1], "--all", "--", "env", "-i",
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
    ]  # fmt: skip


def hook_downtmp(path):
    return VirtSubproc.downtmp_mktemp(path)


def hook_cleanup():
    VirtSubproc.downtmp_remove()


def hook_capabilities():
    return ["isolation-container", "root-on-testbed"]


VirtSubproc.main()
