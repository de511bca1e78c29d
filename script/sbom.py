"""Write the software bill of materials of a Debian package, as CycloneDX 1.5: script/sbom.py DEB

The package is not linked with anything: what it runs on are the Debian packages that it depends on,
with the lowest versions it names. Same input, same output.
"""

import hashlib
import json
import re
import subprocess
import sys
import uuid
from pathlib import Path


def field(deb: Path, name: str) -> str:
    done = subprocess.run(
        ["dpkg-deb", "--field", deb, name], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def component(dependency: str) -> dict[str, object]:
    """One entry of Depends: its first alternative."""
    first = dependency.split("|")[0].strip()
    match = re.fullmatch(r"([a-z0-9.+-]+)(?::\w+)?(?:\s*\((\S+) ([^)]+)\))?", first)
    assert match, dependency
    name, relation, version = match.groups()
    found: dict[str, object] = {
        "type": "library",
        "name": name,
        "bom-ref": name,
        "purl": f"pkg:deb/debian/{name}",
    }
    if version:
        found["properties"] = [{"name": "debian:relation", "value": f"{relation} {version}"}]
    return found


def bill(deb: Path) -> dict[str, object]:
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    version = field(deb, "Version")
    parts = [component(one) for one in field(deb, "Depends").split(",")]
    subject = {
        "type": "application",
        "bom-ref": "nodeward",
        "name": "nodeward",
        "version": version,
        "purl": f"pkg:deb/nodeward@{version}?arch=all",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"component": subject},
        "components": parts,
        "dependencies": [{"ref": "nodeward", "dependsOn": [str(p["bom-ref"]) for p in parts]}],
    }


def main() -> None:
    deb = Path(sys.argv[1])
    deb.with_suffix(".cdx.json").write_text(json.dumps(bill(deb), indent=1) + "\n")


main()
