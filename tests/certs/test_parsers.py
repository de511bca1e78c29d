"""Every reader gives back what was written, and nothing but its own error for anything else."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate_maker import (
    Spec,
    armour,
    certificate,
    extension,
    integer,
    oid,
    seq,
    time,
    tlv,
)
from nodeward.facts import der, pem
from nodeward.facts.acl import parse_acl
from nodeward.facts.der import DerError
from nodeward.facts.errors import ParseError
from nodeward.facts.manifests import Container, Mount, parse_manifest
from nodeward.facts.pki import parse_public
from nodeward.facts.urls import split_url
from nodeward.facts.x509 import (
    Extensions,
    NameLimits,
    in_domain,
    parse_certificate,
    parse_public_key,
)
from nodeward.host import HostError, TreeHost
from nodeward.host.kubeconfig import KubeconfigFile
from nodeward.host.manifests import ManifestFile
from nodeward.host.pem import contents
from nodeward.host.token import describe

TAGS = st.sampled_from([1, 2, 3, 4, 5, 6, 12, 19, 23, 24, 0x30, 0x31, 0x80, 0xA0, 0xA3])


@given(TAGS, st.binary(max_size=70000))
def test_a_der_value_comes_back(tag: int, content: bytes) -> None:
    value = der.only(tlv(tag, content))
    assert (value.tag, value.content) == (tag, content)


@given(st.integers(-(2**200), 2**200))
def test_a_der_integer_comes_back(number: int) -> None:
    assert der.integer(der.only(integer(number))) == number


@given(st.lists(st.integers(0, 2**40), max_size=8), st.integers(0, 2), st.integers(0, 39))
def test_an_object_identifier_comes_back(arcs: list[int], first: int, second: int) -> None:
    dotted = ".".join(map(str, (first, second, *arcs)))
    assert der.oid(der.only(oid(dotted))) == dotted


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))  # noqa: DTZ001
def test_a_time_comes_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    seconds = round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    assert der.time(der.only(time(moment, general=True))) == seconds
    if 1950 <= moment.year < 2050:
        assert der.time(der.only(time(moment, general=False))) == seconds


@pytest.mark.parametrize(
    "text",
    ["2611220400Z", "261122040000", "261122040000+0100", "261322040000Z", "26112204000xZ", ""],
)
def test_a_time_that_rfc_5280_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(DerError):
        der.time(der.only(tlv(23, text.encode())))


# Bytes of a real certificate, some of them changed: random ones never get past the first test.
RAW = certificate(Spec(dns=("a", "b"), ips=("10.0.0.1",), usages=("1.2.3",), ca=True, key_usage=6))


@given(st.lists(st.tuples(st.integers(0, len(RAW) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_certificate_is_read_or_refused(edits: list[tuple[int, int]]) -> None:
    raw = bytearray(RAW)
    for place, byte in edits:
        raw[place] = byte
    with contextlib.suppress(DerError):
        parse_certificate(bytes(raw))


@given(st.integers(0, len(RAW)), st.binary(max_size=8))
def test_a_cut_certificate_is_refused(length: int, tail: bytes) -> None:
    if RAW[:length] + tail != RAW:
        with contextlib.suppress(DerError):
            parse_certificate(RAW[:length] + tail)


@given(st.recursive(st.binary(max_size=6), lambda inner: st.lists(inner, max_size=5), max_leaves=9))
def test_any_nesting_is_read_or_refused(tree: Any) -> None:
    def build(node: Any) -> bytes:
        return seq(*map(build, node)) if isinstance(node, list) else tlv(2, node)

    raw = build(tree)
    for parse in (parse_certificate, parse_public_key):
        with contextlib.suppress(DerError):
            parse(raw)


def test_names_and_addresses_come_back() -> None:
    found = parse_certificate(
        certificate(Spec(dns=("a.b", "*.c"), ips=("10.0.0.1", "fd00::7"), usages=None))
    ).extensions
    assert found.dns == ("a.b", "*.c")
    assert [ipaddress.ip_address(i) for i in found.ips] == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("fd00::7"),
    ]


WORDS = st.sampled_from(
    [b"-----BEGIN ", b"CERTIFICATE-----", b"-----END ", b"PRIVATE KEY-----", b"\n", b"\r\n",
     b"AAAA", b"=", b"Proc-Type: 4,ENCRYPTED", b"\0", b"MIIB", b"\xff", b" ", b"-----"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=40).map(b"".join))
def test_any_text_is_split(text: bytes) -> None:
    list(pem.split(text))
    parse_public(text)
    found = contents(text)
    assert "PRIVATE KEY" not in found.public


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(WORDS, max_size=3).map(b"".join))
def test_blocks_come_back_whatever_stands_between(blocks: list[bytes], junk: bytes) -> None:
    if b"-----" in junk:
        return
    text = junk.join(armour("CERTIFICATE", raw).encode() for raw in blocks)
    assert [b.data for b in pem.split(text)] == blocks


@given(st.binary(max_size=80))
def test_any_access_list_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse_acl(raw)


@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 7))
def test_an_access_list_gives_what_its_mask_leaves(number: int, perm: int, mask: int) -> None:
    raw = struct.pack("<I", 2) + struct.pack("<HHIHHI", 2, perm, number, 0x10, mask, 0)
    letters = "".join(c if perm & mask & b else "-" for c, b in (("r", 4), ("w", 2), ("x", 1)))
    assert parse_acl(raw) == ((f"user {number}: {letters}",) if perm & mask else ())


@given(st.text(max_size=60))
def test_any_address_is_split(text: str) -> None:
    split_url(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://10.0.0.1:6443", ("https", "10.0.0.1", 6443)),
        ("https://[fd00::1]:6443/x?y", ("https", "fd00::1", 6443)),
        ("http://user:secret@Host/", ("http", "host", None)),
        ("10.0.0.1:8080", ("", "10.0.0.1", 8080)),
        ("localhost", ("", "localhost", None)),
        ("", ("", "", None)),
    ],
)
def test_addresses_of_configurations(text: str, parts: tuple[str, str, int | None]) -> None:
    assert split_url(text) == parts


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["kind", "spec", "metadata", "containers", "volumes", "hostPath", "path", "name",
                 "command", "args", "volumeMounts", "mountPath", "env", "value", "subPath", "user",
                 "users", "clusters", "cluster", "contexts", "token", "client-key-data", "exec",
                 "client-certificate-data", "certificate-authority-data", "server", "annotations"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(JSON)
def test_any_manifest_is_read_or_refused(value: Any) -> None:
    value = {**value, "kind": "Pod"} if isinstance(value, dict) else value
    with contextlib.suppress(ParseError):
        parse_manifest(json.dumps(value), "/x")


@given(value=JSON)
def test_any_file_is_a_kubeconfig_a_manifest_or_neither(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    folder = tmp_path_factory.getbasetemp()
    Path(folder, "x").write_text(json.dumps(value))
    with contextlib.suppress(HostError):
        TreeHost(folder).ask(KubeconfigFile("/x"))
    with contextlib.suppress(HostError):
        TreeHost(folder).ask(ManifestFile("/x"))


@given(st.text(max_size=80))
def test_any_token_is_described(text: str) -> None:
    assert describe(text).length == len(text.strip())


@given(st.dictionaries(st.sampled_from(["exp", "iat", "sub", "iss", "aud", "kubernetes.io"]), JSON))
def test_any_claims_are_described(claims: dict[str, Any]) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    assert describe(f"{part({})}.{part(claims)}.x").kind == "jwt"


MOUNTS = (Mount("/etc/kubernetes/pki", "/srv/pki"), Mount("/etc", "/host/etc"), Mount("/", "/all"))


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("/etc/kubernetes/pki/ca.crt", "/srv/pki/ca.crt"),
        ("/etc/kubernetes/pki", "/srv/pki"),
        ("/etc/kubernetes/pki2/x", "/host/etc/kubernetes/pki2/x"),
        ("/var/x", "/all/var/x"),
    ],
)
def test_the_longest_mount_counts(inside: str, outside: str) -> None:
    assert Container("c", "", (), MOUNTS).outside(inside) == outside


def test_a_path_without_a_mount_is_inside() -> None:
    assert Container("c", "", (), MOUNTS[:1]).outside("/usr/x") is None


_DOMAINS = [
    ("node.example.com", "example.com", True),
    ("Example.com", "example.COM", True),
    ("example.com", ".example.com", False),
    ("a.example.com", ".example.com", True),
    ("badexample.com", "example.com", False),
    ("anything", "", True),
]


@pytest.mark.parametrize(("name", "domain", "inside"), _DOMAINS)
def test_a_name_is_in_a_domain(name: str, domain: str, *, inside: bool) -> None:
    assert in_domain(name, domain) is inside


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        (NameLimits(), ""),
        (NameLimits(dns=("com",)), ""),
        (NameLimits(dns=("org",)), "a.com"),
        (NameLimits(not_dns=("a.com",)), "a.com"),
        (NameLimits(ips=("10.0.0.0/8",)), ""),
        (NameLimits(ips=("fd00::/8",)), "10.1.2.3"),
        (NameLimits(not_ips=("10.1.0.0/16",)), "10.1.2.3"),
    ],
)
def test_an_authority_may_issue_for_some_names_only(limits: NameLimits, refused: str) -> None:
    assert limits.refused(Extensions(dns=("a.com",), ips=("10.1.2.3",))) == refused


def test_constraints_of_networks_are_read() -> None:
    trees = tlv(0xA1, seq(tlv(0x87, bytes((10, 0, 0, 0, 255, 0, 0, 0)))))
    raw = certificate(Spec(ca=True, extra=(extension("2.5.29.30", seq(trees)),)))
    assert parse_certificate(raw).extensions.limits == NameLimits(not_ips=("10.0.0.0/8",))
