"""What stops every load of a module on a host at once, or takes modprobe's place. Pure."""

from __future__ import annotations

from nodeward.facts.exposed import Exposure, State, exposure_of
from nodeward.facts.kernel_modules import KernelModules, Variant
from nodeward.model import Evidence


def loading_disabled(node: KernelModules) -> Exposure | None:
    if not node.disabled:
        return None
    return exposure_of(
        State.OFF,
        "kernel.modules_disabled is 1: nothing can be loaded until the next boot",
        Evidence("kernel.modules_disabled", "1", "/proc/sys/kernel/modules_disabled"),
    )


def switched_off(node: KernelModules, variant: Variant) -> Exposure | None:
    """What stops every load on this host at once, or takes modprobe's place."""
    helper, tree = node.helper, variant.tree
    config = tree.config or {}
    disabled = loading_disabled(node)
    if disabled is not None:
        return disabled
    if config.get("STATIC_USERMODEHELPER") == "y" and not config.get("STATIC_USERMODEHELPER_PATH"):
        return exposure_of(
            State.OFF,
            "the kernel is built to call no helper at all",
            Evidence("CONFIG_STATIC_USERMODEHELPER_PATH", "", f"/boot/config-{tree.release}"),
        )
    if config.get("STATIC_USERMODEHELPER") == "y":
        path = config["STATIC_USERMODEHELPER_PATH"]
        return exposure_of(
            State.UNKNOWN,
            f"the kernel is built to call {path} in modprobe's place, and what that does with"
            " a request cannot be told",
            Evidence("CONFIG_STATIC_USERMODEHELPER_PATH", path, f"/boot/config-{tree.release}"),
        )
    why = {
        "off": "is empty",
        "missing": f"is {helper.setting}, which is not there",
        "not executable": f"is {helper.setting}, which cannot be executed",
        "false": f"is {helper.setting}, which does nothing",
        "true": f"is {helper.setting}, which does nothing",
    }.get(helper.kind)
    if why is None:
        return None
    if helper.writable:
        return exposure_of(
            State.UNKNOWN,
            f"kernel.modprobe {why}, but others than root may write to {helper.writable} and put"
            " another program there",
            Evidence("kernel.modprobe", helper.setting, "/proc/sys/kernel/modprobe"),
        )
    return exposure_of(
        State.OFF,
        f"kernel.modprobe {why}: the kernel loads no module on request",
        Evidence("kernel.modprobe", helper.setting, "/proc/sys/kernel/modprobe"),
    )
