"""A real OpenID provider on loopback: Debian's glewlwyd, with people in groups."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from nodeward.collector import pki

PROGRAM = Path("/usr/bin/glewlwyd")
SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
WEBAPP = Path("/usr/share/glewlwyd/webapp")
WEBAPP_CONFIG = Path("/usr/share/glewlwyd/templates/config.json")
LIBRARIES = "/usr/lib/glewlwyd"
CLIENT = "nodeward"
SECRET = "a secret of the client"
PASSWORD = "correct horse battery"
PEOPLE = {"alice": ["sre"], "bob": ["east-ops", "lunch"], "carol": ["lunch"], "dave": []}


def provided(folder: Path) -> Iterator[Provider]:
    """One that runs, ready for `client`."""
    if not PROGRAM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("glewlwyd is missing: see script/packages.debian")
        pytest.skip("needs the package glewlwyd")
    provider = Provider(folder)
    yield provider
    provider.process.terminate()
    provider.process.wait(30)


class Provider:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pki.write_ca(folder)
        pki.write_server(folder, ["localhost", "127.0.0.1"])
        self.ca = str(folder / "ca.crt")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self.issuer = f"{self.url}/api/oidc"
        self._database()
        shutil.copytree(WEBAPP, folder / "webapp", ignore=shutil.ignore_patterns("config.json"))
        shutil.copy(WEBAPP_CONFIG, folder / "webapp" / "config.json")
        config = folder / "glewlwyd.conf"
        config.write_text(self._config())
        self.process = subprocess.Popen([PROGRAM, f"--config-file={config}"])
        self.admin = self.browser()
        self._wait()
        self._describe()

    def browser(self) -> requests.Session:
        http = requests.Session()
        http.trust_env = False
        http.verify = self.ca
        return http

    def _database(self) -> None:
        """Its own schema; users get a property `groups` with many values."""
        with closing(sqlite3.connect(self.folder / "db")) as db, db:
            db.executescript(SCHEMA.read_text())
            of_users = "SELECT gumi_parameters FROM g_user_module_instance"
            parameters = json.loads(db.execute(of_users).fetchone()[0])
            parameters["data-format"]["groups"] = {"multiple": True, "read": True, "write": True}
            told = json.dumps(parameters)
            db.execute("UPDATE g_user_module_instance SET gumi_parameters = ?", (told,))

    def _config(self) -> str:
        types = {".html": "text/html", ".js": "application/javascript", ".css": "text/css",
                 ".json": "application/json"}  # fmt: skip
        mimes = ", ".join(
            f'{{extension="{e}" mime_type="{m}" compress=0}}' for e, m in types.items()
        )
        return f"""
port={self.port}
bind_address="127.0.0.1"
external_url="{self.url}"
login_url="login.html"
api_prefix="api"
static_files_path="{self.folder}/webapp/"
static_files_mime_types=({mimes})
log_mode="file"
log_level="WARNING"
log_file="{self.folder}/log"
cookie_secure=1
session_expiration=86400
session_key="provider"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{LIBRARIES}/user"
client_module_path="{LIBRARIES}/client"
user_auth_scheme_module_path="{LIBRARIES}/scheme"
plugin_module_path="{LIBRARIES}/plugin"
use_secure_connection=true
secure_connection_key_file="{self.folder}/tls.key"
secure_connection_pem_file="{self.folder}/tls.crt"
hash_algorithm="SHA512"
database={{ type="sqlite3" path="{self.folder}/db" }}
"""

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                self.admin.get(self.url + "/config", timeout=10)
            except requests.ConnectionError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)  # it has no event to wait for
            else:
                return

    def call(self, method: str, path: str, body: dict[str, Any]) -> None:
        answer = self.admin.request(method, f"{self.url}/api{path}", json=body, timeout=30)
        assert answer.status_code == 200, (path, answer.text)

    def _describe(self) -> None:
        """The protocol with PKCE demanded, and people with a password each."""
        self.call("POST", "/auth/", {"username": "admin", "password": "password"})
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        told = {"mandatory": True, "on-demand": False, "scope": ["openid"]}
        groups = {"name": "groups", "user-property": "groups", "type": "string", **told}
        parameters = {
            "iss": self.issuer,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "key": private.decode(),
            "cert": public.decode(),
            "access-token-duration": 3600,
            "refresh-token-duration": 3600,
            "code-duration": 600,
            "auth-type-code-enabled": True,
            "pkce-allowed": True,
            "pkce-required": True,
            "pkce-method-plain-allowed": False,
            "subject-type": "public",
            "claims": [groups],
            "name-claim": "mandatory",
            "email-claim": "mandatory",
            "jwks-show": True,
            "allowed-scope": ["openid"],
        }
        plugin = {"module": "oidc", "name": "oidc", "display_name": "OIDC"}
        self.call("POST", "/mod/plugin/", {**plugin, "parameters": parameters})
        scope = {"display_name": "openid", "description": "openid", "password_required": True}
        self.call("PUT", "/scope/openid", {**scope, "password_max_age": 0, "scheme": {}})
        for name, groups_of in PEOPLE.items():
            user = {"username": name, "password": PASSWORD, "groups": groups_of, "enabled": True,
                    "email": f"{name}@example.org", "scope": ["openid", "g_profile"]}  # fmt: skip
            self.call("POST", "/user/", user)

    def client(self, redirect_uri: str) -> None:
        """Our registration there."""
        self.call(
            "POST",
            "/client/",
            {
                "client_id": CLIENT,
                "name": CLIENT,
                "confidential": True,
                "password": SECRET,
                "redirect_uri": [redirect_uri],
                "authorization_type": ["code"],
                "token_endpoint_auth_method": ["client_secret_basic"],
                "scope": ["openid"],
                "enabled": True,
            },
        )

    def log_in(self, browser: requests.Session, name: str) -> None:
        """As the login form of the provider does it, and consent to our client."""
        who = {"username": name, "password": PASSWORD}
        assert browser.post(f"{self.url}/api/auth/", json=who, timeout=30).status_code == 200
        grant = f"{self.url}/api/auth/grant/{CLIENT}"
        assert browser.put(grant, json={"scope": "openid"}, timeout=30).status_code == 200
