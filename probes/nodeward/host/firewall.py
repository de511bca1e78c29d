"""Packet filter rules of the running machine, from the kernel through netlink, as it keeps them.

Nothing is asked of a subsystem that is not loaded: a question to it would make the kernel load it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from nodeward.host import rights
from nodeward.host.base import DeniedError, HostError, MissingError, OfflineError
from nodeward.host.live import LiveHost
from nodeward.host.query import Query
from nodeward.lazy import dataclass

if TYPE_CHECKING:
    from nodeward.host.tree import TreeHost

CAP_NET_ADMIN = 12
FAMILIES = {1: "inet", 2: "ip", 10: "ip6", 7: "bridge"}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
WANTED_HOOKS = ("prerouting", "forward", "output")
MOST_RULES = 1500
MOST_CHAINS = 20_000
MOST_ELEMENTS = 4096
LIMIT_S = 4.0
# kube-proxy's own chains: thousands of rules about Services, none about who may reach what.
PASSED_BY = (
    "KUBE-SERVICES",
    "KUBE-SVC-",
    "KUBE-SEP-",
    "KUBE-EXT-",
    "KUBE-NODEPORT",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-PROXY-",
    "KUBE-MARK-",
    "service-",
    "endpoint-",
)


@dataclass(frozen=True, slots=True)
class ChainRow:
    """A chain that is hooked into the path of packets, or that such a chain jumps to (`hook` "").
    `policy` is what becomes of a packet that no rule decides: "accept" or "drop"."""

    family: str
    table: str
    name: str
    hook: str
    priority: int
    policy: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as a list of expressions, each a name and its operands as text (bytes in hex), by the
    names of linux/netfilter/nf_tables.h without their prefixes."""

    family: str
    table: str
    chain: str
    handle: int
    expressions: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class SetRow:
    """A set that some rule looks into. Each element is a key in hex and "end" where it closes an
    interval that the element before it opened."""

    family: str
    table: str
    name: str
    elements: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """`complete` is False where a limit cut the look short."""

    chains: tuple[ChainRow, ...] = ()
    rules: tuple[RuleRow, ...] = ()
    sets: tuple[SetRow, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class FirewallRules(Query[Ruleset]):
    """The nf_tables rules that packets meet at these hooks, iptables-nft's included; as shipped,
    forwarded and outgoing packets. DeniedError without CAP_NET_ADMIN."""

    answer_type: ClassVar[object] = Ruleset

    hooks: tuple[str, ...] = WANTED_HOOKS

    def answer(self, host: TreeHost) -> Ruleset:
        if not isinstance(host, LiveHost) or host.same_namespace("net") is False:
            raise OfflineError("nf_tables", "another network namespace than the host's")
        if not loaded(host, "nf_tables"):
            return Ruleset()
        if not rights.effective_capabilities() >> CAP_NET_ADMIN & 1:
            raise DeniedError("nf_tables", "needs CAP_NET_ADMIN")
        try:
            with ExitStack() as stack:
                return _Reader(stack).read(self.hooks)
        except OSError as exc:
            raise HostError("nf_tables", errno.errorcode.get(exc.errno or 0, "EIO")) from exc
        except Exception as exc:  # pyroute2 has errors of its own, with a code
            code = getattr(exc, "code", None)
            if code is None:
                raise
            raise HostError("nf_tables", errno.errorcode.get(code, "EIO")) from exc


def loaded(host: TreeHost, module: str) -> bool:
    """Whether a part of the kernel is there, so that asking it loads nothing."""
    try:
        modules = host.read("/proc/modules", limit=4 << 20)
    except MissingError:  # this kernel loads none
        return True
    if any(line.split(b" ")[0] == module.encode() for line in modules.split(b"\n")):
        return True
    try:
        release = host.read("/proc/sys/kernel/osrelease").decode().strip()
        builtin = host.read(f"/lib/modules/{release}/modules.builtin")
    except HostError:
        return False
    return f"/{module}.ko".encode() in builtin


class _Reader:
    """One look, through one socket a family."""

    def __init__(self, stack: ExitStack) -> None:
        from pyroute2.netlink.nfnetlink import nftsocket

        self._lib = nftsocket
        self._any = stack.enter_context(nftsocket.NFTSocket(nfgen_family=0))
        self._of = {
            number: stack.enter_context(nftsocket.NFTSocket(nfgen_family=number))
            for number in FAMILIES
        }
        self._end = time.monotonic() + LIMIT_S
        self._complete = True

    def read(self, hooks: tuple[str, ...]) -> Ruleset:
        chains = list(self._chains())
        rules: list[RuleRow] = []
        by_name = {(c.family, c.table, c.name): c for c in chains}
        todo = [key for key, c in by_name.items() if c.hook in hooks]
        known = set(todo)
        while todo:
            key = todo.pop(0)
            found = list(self._rules(key, MOST_RULES - len(rules)))
            rules += found
            for target in (t for rule in found for t in _jumps(rule)):
                following = (key[0], key[1], target)
                if following not in known and not target.startswith(PASSED_BY):
                    known.add(following)
                    todo.append(following)
        wanted = {
            (r.family, r.table, e[1]) for r in rules for e in r.expressions if e[0] == "lookup"
        }
        sets = tuple(row for where in sorted(wanted) if (row := self._set(*where)))
        here = tuple(c for key, c in by_name.items() if key in known)
        return Ruleset(here, tuple(rules), sets, self._complete)

    def _dump(self, number: int, kind: int, message: object, most: int) -> Iterator[Any]:
        """At most so many messages, and none after our time. The rest of a dump that was cut still
        waits in its socket, so that it is the last."""
        if not self._complete:
            return

        def late(_: object) -> bool:
            self._complete = self._complete and time.monotonic() < self._end
            return not self._complete

        socket = self._of.get(number, self._any)
        for count, found in enumerate(socket.request_get(message, kind, terminate=late)):
            if count >= most:
                self._complete = False
                return
            yield found

    def _chains(self) -> Iterator[ChainRow]:
        lib = self._lib
        for m in self._dump(0, lib.NFT_MSG_GETCHAIN, lib.nft_chain_msg(), MOST_CHAINS):
            family = FAMILIES.get(m["nfgen_family"])
            if family is None:
                continue
            hook = m.get_attr("NFTA_CHAIN_HOOK")
            yield ChainRow(
                family,
                m.get_attr("NFTA_CHAIN_TABLE"),
                m.get_attr("NFTA_CHAIN_NAME"),
                HOOKS[hook.get_attr("NFTA_HOOK_HOOKNUM")] if hook else "",
                hook.get_attr("NFTA_HOOK_PRIORITY") if hook else 0,
                "drop" if hook and m.get_attr("NFTA_CHAIN_POLICY") == 0 else "accept",
            )

    def _rules(self, key: tuple[str, str, str], room: int) -> Iterator[RuleRow]:
        family, table, chain = key
        number = next(n for n, name in FAMILIES.items() if name == family)
        message = self._lib.nft_rule_msg()
        message["attrs"] = [["NFTA_RULE_TABLE", table], ["NFTA_RULE_CHAIN", chain]]
        for m in self._dump(number, self._lib.NFT_MSG_GETRULE, message, room):
            if m.get_attr("NFTA_RULE_CHAIN") != chain or m.get_attr("NFTA_RULE_TABLE") != table:
                continue
            found = m.get_attr("NFTA_RULE_EXPRESSIONS") or []
            expressions = tuple(e for e in map(_expression, found) if e)
            yield RuleRow(family, table, chain, m.get_attr("NFTA_RULE_HANDLE"), expressions)

    def _set(self, family: str, table: str, name: str) -> SetRow | None:
        """None where it was not read to its end: what a set lacks counts too."""
        number = next(n for n, known in FAMILIES.items() if known == family)
        message = self._lib.nft_set_elem_list_msg()
        message["attrs"] = [["NFTA_SET_ELEM_LIST_TABLE", table], ["NFTA_SET_ELEM_LIST_SET", name]]
        found: list[tuple[str, str]] = []
        for m in self._dump(number, self._lib.NFT_MSG_GETSETELEM, message, MOST_ELEMENTS):
            for element in m.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or []:
                if len(found) >= MOST_ELEMENTS:
                    self._complete = False
                    break
                key = element.get_attr("NFTA_SET_ELEM_KEY")
                data = key.get_attr("NFTA_DATA_VALUE") if key else b""
                flags = element.get_attr("NFTA_SET_ELEM_FLAGS") or ()
                found.append((_hex(data), "end" if flags else ""))  # the other flag has no key
        return SetRow(family, table, name, tuple(sorted(found))) if self._complete else None


def _jumps(rule: RuleRow) -> Iterator[str]:
    for expression in rule.expressions:
        if expression[0] == "verdict" and expression[1] in ("JUMP", "GOTO"):
            yield expression[2]


def _hex(data: object) -> str:
    return data.hex() if isinstance(data, bytes | bytearray) else ""


def _short(value: object) -> str:
    """NFT_META_IIFNAME -> IIFNAME: what follows the second underscore."""
    return str(value).split("_", 2)[-1]


def _expression(e: Any) -> tuple[str, ...]:  # noqa: ANN401  a message of an untyped library
    name, data = str(e.get_attr("NFTA_EXPR_NAME")), e.get_attr("NFTA_EXPR_DATA")

    def get(attribute: str) -> Any:  # noqa: ANN401
        return data.get_attr(f"NFTA_{name.upper()}_{attribute}") if data else None

    def value(attribute: str) -> str:
        inner = get(attribute)
        return _hex(inner.get_attr("NFTA_DATA_VALUE")) if inner else ""

    match name:
        case "counter" | "log":
            return ()
        case "meta" | "ct" | "socket":
            return name, _short(get("KEY")), str(get("DREG") or "")
        case "payload":
            base = _short(get("BASE")).partition("_")[0]
            return name, base, str(get("OFFSET")), str(get("LEN")), str(get("DREG"))
        case "cmp":
            return name, str(get("SREG")), _short(get("OP")), value("DATA")
        case "bitwise":
            regs = str(get("SREG")), str(get("DREG"))
            return name, *regs, value("MASK"), value("XOR")
        case "range":
            return name, str(get("SREG")), str(get("OP")), value("FROM_DATA"), value("TO_DATA")
        case "lookup" if str(get("DREG") or "").endswith("VERDICT"):
            return "vmap", str(get("SET")), str(get("SREG"))
        case "lookup":
            inverted = "inverted" if "NFT_LOOKUP_F_INV" in (get("FLAGS") or ()) else ""
            return name, str(get("SET")), str(get("SREG")), inverted
        case "immediate":
            inner = get("DATA")
            verdict = inner.get_attr("NFTA_DATA_VERDICT") if inner else None
            if verdict is None:
                return name, str(get("DREG")), value("DATA")
            code = str(verdict.get_attr("NFTA_VERDICT_CODE")).partition("_")[2]
            return "verdict", code, str(verdict.get_attr("NFTA_VERDICT_CHAIN") or "")
        case "reject":
            return (name,)
        case "nat":
            return name, _short(get("TYPE"))
        case "match" | "target":
            return name, str(get("NAME")), str(get("INFO") or "").replace(":", "")
        case _:
            return (name,)
