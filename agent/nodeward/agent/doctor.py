"""Is the agent of this node well? Each examination says what it saw, and what to do about it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from nodeward.agent.config import Config, ConfigError
from nodeward.agent.reach import SKEW_S, authorities, collectors
from nodeward.agent.sandbox import examine_sandbox
from nodeward.agent.settings import settings
from nodeward.agent.sign import Health, Sign
from nodeward.agent.spool import FILE, MAJOR
from nodeward.agent.status_names import METRICS_FILE, STATUS_FILE
from nodeward.facts.agent import Agent, Sandbox, parse_agent
from nodeward.facts.errors import ParseError
from nodeward.host import LiveHost

LIBRARIES = ("yaml", "psutil", "pyroute2", "watchdog", "requests", "systemd.daemon", "cryptography")
LEAST = {"max_user_watches": 8192, "max_user_instances": 128}
"""The kernel's own defaults on small machines; other watchers of the user take their part."""

NAMESPACES = {
    "net": "hostNetwork: true",
    "pid": "hostPID: true",
    "user": "hostUsers: true, PrivateUsers=no",
}


def examine(config: Config) -> Iterator[Sign]:
    """All of them, the simplest first. None raises."""
    examinations: tuple[Callable[[Config], Iterator[Sign]], ...] = (
        _settings, _libraries, _sandbox, _watches, _state, _spool, _daemon, _textfile, authorities,
        collectors,
    )  # fmt: skip
    for one in examinations:
        try:
            yield from one(config)
        except OSError as exc:
            name = one.__name__.strip("_")
            yield Sign(name, Health.WORSE, f"{exc.filename}: {exc.strerror}", "run it as root")


def _settings(config: Config) -> Iterator[Sign]:
    try:
        settings(config)
    except ConfigError as exc:
        for problem in exc.problems:
            yield Sign("configuration", Health.BAD, problem, "correct it: nodeward config check")
        return
    yield Sign("configuration", Health.GOOD, "every key is known")
    if not config.collector.urls:
        advice = "set collector.urls, or leave it: findings are then on this node only"
        yield Sign("collector", Health.WORSE, "none is configured", advice)


def _libraries(config: Config) -> Iterator[Sign]:
    for name in LIBRARIES:
        try:
            import_module(name)
        except Exception as exc:  # noqa: BLE001  psutil raises what it likes without /proc
            advice = f"install it (python3-{name.partition('.')[0]}, or nodeward[agent])"
            yield Sign("library", Health.BAD, f"{name}: {type(exc).__name__}", advice)


def _sandbox(config: Config) -> Iterator[Sign]:
    yield from _confined(examine_sandbox(LiveHost(config.host_root)), "us")


def _confined(box: Sandbox, whom: str) -> Iterator[Sign]:
    """What is kept from us, or from the agent: who asks as root may more than the service."""
    if box.missing:
        advice = "run it as root, or give the unit AmbientCapabilities=" + " ".join(box.missing)
        seen = f"not held by {whom}: {', '.join(box.missing)}"
        yield Sign("rights", Health.WORSE, seen, advice)
    else:
        yield Sign("rights", Health.GOOD, f"every file and process may be read by {whom}")
    for path in box.hidden:
        advice = "take out the option that hides it: InaccessiblePaths=, BindPaths=, ProcSubset="
        yield Sign("sandbox", Health.BAD, f"{path} is hidden from {whom}", advice)
    for kind in box.foreign:
        advice = NAMESPACES.get(kind, kind)
        seen = f"{kind}: not the host's for {whom}"
        yield Sign("namespaces", Health.WORSE, seen, f"set {advice}")
    if box.mounted:
        seen = f"of the host only {', '.join(box.mounted)} are mounted for {whom}"
        advice = "what else is read is unknown: mount the host's /, or add to agent.hostPaths"
        yield Sign("sandbox", Health.WORSE, seen, advice)
    if not box.hidden and not box.foreign and not box.mounted:
        yield Sign("sandbox", Health.GOOD, f"nothing of the host is hidden from {whom}")


def _watches(config: Config) -> Iterator[Sign]:
    for knob, least in LEAST.items():
        value = int(Path(f"/proc/sys/fs/inotify/{knob}").read_text(encoding="ascii"))
        if value < least:
            advice = f"sysctl -w fs.inotify.{knob}={8 * least}"
            yield Sign("watches", Health.WORSE, f"fs.inotify.{knob} is {value}", advice)
        else:
            yield Sign("watches", Health.GOOD, f"fs.inotify.{knob} is {value}")


def _state(config: Config) -> Iterator[Sign]:
    folder = Path(config.state_dir)
    if not folder.exists():
        yield Sign("state", Health.WORSE, f"{folder} is not there", "the agent has never run here")
        return
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        yield Sign("state", Health.BAD, f"{folder} has mode {mode:o}", f"chmod 0700 {folder}")
    free = os.statvfs(folder)
    free_bytes = free.f_bavail * free.f_frsize
    if free_bytes < config.spool.max_bytes:
        advice = "make room, or lower spool.max_bytes"
        yield Sign("state", Health.WORSE, f"{free_bytes >> 20} MiB free at {folder}", advice)
    else:
        yield Sign("state", Health.GOOD, f"{free_bytes >> 20} MiB free at {folder}")


def _spool(config: Config) -> Iterator[Sign]:
    path = Path(config.state_dir, FILE)
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            depth, size = db.execute("SELECT count(*), total(size) FROM waiting").fetchone()
            about = dict(db.execute("SELECT key, value FROM about").fetchall())
    except sqlite3.Error as exc:
        advice = "the agent sets a corrupt file aside by itself; run this as root otherwise"
        yield Sign("spool", Health.BAD, f"{path}: {exc}", advice)
        return
    seen = f"{depth} reports of {int(size)} bytes wait; {about.get('dropped', 0)} were dropped"
    good = version // 100 == MAJOR and not about.get("dropped") and depth < 1000
    advice = "" if good else "see the collector's state below; spool.max_bytes bounds it"
    yield Sign("spool", Health.GOOD if good else Health.WORSE, seen, advice)


def _daemon(config: Config) -> Iterator[Sign]:
    path = Path(config.run_dir, STATUS_FILE)
    try:
        raw = path.read_bytes()
        agent, at = parse_agent(raw), float(json.loads(raw)["at"])
    except FileNotFoundError:
        advice = "systemctl status nodeward-agent; journalctl -u nodeward-agent"
        yield Sign("daemon", Health.WORSE, "it has not looked since this boot", advice)
        return
    except (ParseError, ValueError, KeyError) as exc:
        yield Sign("daemon", Health.BAD, f"{path}: {exc}", "restart the agent")
        return
    yield from _age(config, time.time() - at)
    yield from _said(agent)


def _age(config: Config, age_s: float) -> Iterator[Sign]:
    if age_s > 2 * config.looks.interval_s + config.looks.limit_s:
        advice = "systemctl status nodeward-agent; journalctl -u nodeward-agent"
        yield Sign("daemon", Health.BAD, f"it last looked {age_s:.0f} s ago", advice)
    elif age_s < -SKEW_S:
        advice = "the clock was set back: check its time service"
        yield Sign("clock", Health.WORSE, f"the last look is {-age_s:.0f} s in the future", advice)
    else:
        yield Sign("daemon", Health.GOOD, f"it last looked {age_s:.0f} s ago")


def _textfile(config: Config) -> Iterator[Sign]:
    folder = config.metrics.textfile
    if folder is None:
        return
    path = Path(folder, METRICS_FILE)
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        age_s = float("inf")
    if age_s > 2 * config.looks.interval_s + config.looks.limit_s:
        seen = f"{path} is not there" if age_s == float("inf") else f"{path} is {age_s:.0f} s old"
        advice = "the service may write there only with ReadWritePaths=, and as its own user"
        yield Sign("metrics", Health.WORSE, seen, advice)
    else:
        yield Sign("metrics", Health.GOOD, f"{path} is {age_s:.0f} s old")


def _said(agent: Agent) -> Iterator[Sign]:
    """What the running agent says of itself: its own view, which may differ from ours."""
    for why in agent.watch.lost:
        yield Sign("watches", Health.WORSE, why, "nodeward explain agent.watch.degraded")
    yield from _confined(agent.sandbox, "the agent")
    if agent.kept.failing:
        seen = f"what the agent finds cannot be kept: {agent.kept.failing}"
        yield Sign("spool", Health.BAD, seen, "make room on the disk of state_dir")
    for broken in agent.parts.broken:
        yield Sign("daemon", Health.BAD, broken, "nodeward explain agent.part.broken")
    if agent.spending.throttled:
        yield Sign("budget", Health.WORSE, "it slows itself down", "nodeward explain agent.budget")
    if agent.standing.conflict:
        advice = "nodeward explain agent.identity.conflict"
        yield Sign("identity", Health.BAD, agent.standing.conflict, advice)
    elif agent.standing.enrolled:
        yield Sign("identity", Health.GOOD, f"enrolled as {agent.standing.agent_id}")
    else:
        yield Sign("identity", Health.WORSE, "not enrolled", "a join token is needed, see below")


def surroundings(config: Config) -> dict[str, object]:
    """What a supporter asks first. No names of the site but those of the configuration."""
    import platform

    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "euid": os.geteuid(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
        "host_root": config.host_root,
        "collectors": [urlsplit(url).scheme for url in config.collector.urls],
        "systemd": "NOTIFY_SOCKET" in os.environ,
        "ipv6": socket.has_ipv6,
    }
