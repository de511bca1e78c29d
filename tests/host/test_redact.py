"""What is taken out of a recording, and what stays because a replay needs it."""

import base64
import json
import string

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

import kubeadm_tree
from nodeward.host import redact as redaction
from nodeward.host.redact import (
    REDACTED,
    another_machine_id,
    is_private_der,
    redact,
    redact_environ,
)

# A secret that stands nowhere else in the text.
SECRET = st.text(string.ascii_letters + string.digits + "+/_-!$%^=", max_size=40).map("Zq9".__add__)

# How a secret stands in files, arguments and units. %s is the secret.
PLACES = {
    "yaml": "apiVersion: v1\npassword: %s\nkind: X\n",
    "annotation": "  annotations:\n    example.com/api-token: %s\n",
    "yaml in quotes": 'users:\n- user:\n    token: "%s"\n',
    "yaml in single quotes": "token: '%s'\n",
    "yaml with commas and blanks": "adminPassword: two words, %s and more\n",
    "yaml in braces": "env: [{name: DB_PASSWORD, value: %s}]\n",
    "yaml block": "stringData:\n  password: |\n    first\n    %s\n  other: 1\n",
    "container environment": "    - name: DATABASE\n      value: %s\n",
    "container environment in json": '{"env":[{"name":"DATABASE","value":"%s"}]}',
    "json": '{"clientSecret": "%s", "x": 1}',
    "json in json": '{"x": "{\\"aadClientSecret\\": \\"%s\\"}"}',
    "docker login": '{"auths": {"registry": {"auth": "%s"}}}',
    "toml": '[auth]\n  password = "%s"\n',
    "ini": "[Global]\naws_secret_access_key = %s\n",
    "flag": "--etcd-password=%s\0--v=2\0",
    "flag of two words": "kubeadm\0join\0--token\0%s\0--v=2\0",
    "flag in a list": "args: [--token, %s, --v=2]\n",
    "flag in json": '{"args": ["--token", "%s"]}',
    "flag in lines": "args:\n- --token\n- %s\n- --v=2\n",
    "url cut off": "staticPodURL: https://u:%s\n",
    "curl": "command: [sh, -c, 'curl -u admin:%s https://x']\n",
    "flag in a unit": "ExecStart=/usr/bin/x --api-key %s --verbose\n",
    "unit": "Environment=API_KEY=%s\n",
    "unit with blanks": 'Environment="DB_PASSWORD=two words %s" OTHER=1\n',
    "shell": "export SECRET_TOKEN='%s'\n",
    "url": "HTTP_PROXY=http://user:%s@proxy:3128/\n",
    "header": "staticPodURLHeader:\n  Authorization:\n  - Bearer %s\n",
    "encryption provider": "  - secretbox:\n      keys:\n      - name: key1\n        secret: %s\n",
}


@pytest.mark.parametrize("name", PLACES)
@given(secret=SECRET)
def test_a_secret_does_not_survive_in_any_place(name: str, secret: str) -> None:
    if name == "url":
        secret = secret.replace("/", "x")
    text = redact(PLACES[name] % secret)
    assert secret not in text
    assert REDACTED in text


SHAPES = {
    "json web token": "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl",
    "bootstrap token": "abcdef.0123456789abcdef",
    "k3s join token": "K10" + "ab" * 32 + "::server:0123456789abcdef",
    "aws key id": "AKIA" + "A1" * 8,
    "github": "ghp_" + "a1B2" * 9,
    "google": "AIza" + "aB3-_" * 7,
    "password hash": "$y$j9T$abcdefgh$0123456789abcdefghijkl",
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_has_the_shape_of_a_secret_goes_wherever_it_stands(name: str) -> None:
    secret = SHAPES[name]
    assert secret not in redact(f"some text {secret} and more\n")


def keys() -> dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]:
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
    }


def test_private_keys_go_in_every_form() -> None:
    for kind, key in keys().items():
        forms = [PrivateFormat.PKCS8, PrivateFormat.OpenSSH]
        if kind != "ed25519":
            forms.append(PrivateFormat.TraditionalOpenSSL)
        for form in forms:
            for lock in (NoEncryption(), BestAvailableEncryption(b"x")):
                if form is PrivateFormat.OpenSSH and not isinstance(lock, NoEncryption):
                    continue  # needs a library of its own
                if form is PrivateFormat.TraditionalOpenSSL and kind == "ed25519":
                    continue
                pem = key.private_bytes(Encoding.PEM, form, lock).decode()
                body = pem.split("\n")[1:-2]
                for text in (
                    pem,
                    f"prefix\n{pem}suffix\n",
                    json.dumps({"private_key": pem}),
                    "client-key-data: " + base64.b64encode(pem.encode()).decode(),
                    "data: {x: " + base64.b64encode(pem.encode()).decode() + "}",
                    pem[: len(pem) // 2],  # cut off: no END line
                ):
                    said = redact(text)
                    assert not any(line in said for line in body if len(line) > 20)
                    assert base64.b64encode(pem.encode()).decode()[40:90] not in said


def test_keys_in_binary_form_are_recognised() -> None:
    for kind, key in keys().items():
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            if kind == "ed25519" and form is PrivateFormat.TraditionalOpenSSL:
                continue
            for lock in (NoEncryption(), BestAvailableEncryption(b"x")):
                if form is PrivateFormat.TraditionalOpenSSL and not isinstance(lock, NoEncryption):
                    continue  # only PEM can say so
                der = key.private_bytes(Encoding.DER, form, lock)
                assert is_private_der(der.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "text", ["", "0", "0\udc82", "apiVersion: v1\n", "0\udc82\x03\x11" + "0" * 9]
)
def test_other_text_is_no_key(text: str) -> None:
    assert not is_private_der(text)


KEPT = [
    "--token-auth-file=/etc/kubernetes/tokens.csv",
    "--enable-bootstrap-token-auth=true",
    '["--enable-bootstrap-token-auth=true","--etcd-cafile=/etc/ca.crt"]',
    "--authentication-token-webhook-cache-ttl=2m0s",
    "tokenAttributes: 12",
    "imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages",
    "secretName: web-tls",
    "tls-private-key-file: /etc/kubernetes/pki/x.key",
    "authorization:\n  mode: Webhook\n",
    "authentication:\n  anonymous:\n    enabled: false\n  webhook:\n    cacheTTL: 0s\n",
    "ServiceAccountToken: {path: token}",
    "certificate-authority-data: " + base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMII").decode(),
    "-----BEGIN CERTIFICATE-----\nMIIabcdef\n-----END CERTIFICATE-----\n",
    "could not read /root/.aws/credentials: EACCES, and 13 more",
    "/root/.azure/msal_token_cache.json: more than 1048576 bytes",
    "PasswordAuthentication no",
    "password_auth = off",
    "https://10.0.0.1:6443/path@x",
    "https://[::1]:6443,https://a:443 (http://127.0.0.1:2381)",
    "--enable-bootstrap-token-auth (arguments of pid 7)",
    '["--token-auth-file", "/etc/x", "--use-service-account-credentials", "--v=2"]',
]


@pytest.mark.parametrize("text", KEPT)
def test_what_only_speaks_of_secrets_stays(text: str) -> None:
    assert redact(text) == text


def test_a_real_control_plane_keeps_every_line_but_its_password() -> None:
    """The recorded kubeadm node, whose keys were taken out by hand, has one secret left."""
    changed = []
    for path in sorted(kubeadm_tree.DATA.rglob("*")):
        if path.is_file() and path.name != "README.md":
            text = path.read_text(errors="surrogateescape")
            if redact(text) != text:
                changed.append(path.name)
    assert changed == ["static-web.yaml"]


def test_an_environment_keeps_its_names_only() -> None:
    raw = "PATH=/bin\0KUBELET_CONFIG_DROPIN_DIR_ALPHA=true\0X=s3cret\0odd\0"
    assert redact_environ(raw) == (
        f"PATH={REDACTED}\0KUBELET_CONFIG_DROPIN_DIR_ALPHA=true\0X={REDACTED}\0odd\0"
    )


PIECES = (
    *("password", "PassWd", "token", "auth", "pw", "api_key", "key-data", "value", "x-secret.y"),
    *("--", "-", "=", ":", " ", "\t", "\n", "\0", '"', "'", "\\", ",", "|", "{", "- ", "hunter2"),
    *("\u017f", "\u212a", "/etc/", "a" * 61),
)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_a_text_that_is_left_alone_early_has_nothing_in_it(text: str) -> None:
    with pytest.MonkeyPatch.context() as every:
        every.setattr(redaction, "_names_something", lambda _: True)
        thorough = redact(text)
    assert redact(text) == thorough


@given(st.text(max_size=200))
def test_redaction_takes_any_text_and_is_final(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_a_megabyte_of_anything_is_redacted_in_a_moment() -> None:
    """No pattern may look at the same text again and again: a file of the host is not ours."""
    for piece in (
        "password" * 8,
        "a" * 64,
        "://:::",
        "eyJ" * 20,
        '"token: ',
        "value:\n",
        '\\"pass:',
    ):
        redact(piece * ((1 << 20) // len(piece)))


def test_another_machine_id_has_the_form_of_one() -> None:
    other = another_machine_id("0" * 32)
    assert len(other) == 32
    assert int(other, 16)
    assert other != "0" * 32
