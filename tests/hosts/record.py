"""Make the recordings of provisioned nodes anew.

script/isolated .venv/bin/python tests/hosts/record.py DEB, as root, after script/node-tree.
"""

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from node import ROOT, boot  # noqa: E402  found through the line above

PROVISION = ROOT / "vagrant" / "provision"


def record(profile: str, deb: Path, folder: Path) -> bytes:
    """Provision a node and record it with the package's own program."""
    binds = {deb.parent: "/mnt", PROVISION: "/opt", folder: "/srv"}
    with boot(folder, binds=binds) as node:
        node.sh("install -m 0755 /srv/kubelet /usr/bin/kubelet")
        for script in ("package.sh /mnt", "kubelet.sh /opt", f"{profile}.sh"):
            node.run("sh", *f"/opt/{script}".split())
        node.sh(f"hostname {profile}; NODEWARD_METADATA=off nodeward record /root/recording")
        return node.run("cat", "/root/recording").stdout.encode()


def main() -> None:
    deb = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            ["gcc", "-O1", "-static", "-o", folder / "kubelet", PROVISION / "kubelet.c"], check=True
        )
        for profile in ("hardened", "mis-hardened"):
            text = record(profile, deb, folder)
            (HERE / f"debian12-{profile}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))


main()
