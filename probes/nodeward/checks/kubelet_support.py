"""What the kubelet's checks share: showing a value with its source, and naming what to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nodeward.facts.kubelet import Kubelet, Launch, Setting, Unknown, moment
from nodeward.facts.kubelet_answers import SECURE, KubeletAnswers, Port, Tls
from nodeward.facts.kubelet_embedded import MICROK8S_ARGS, is_written_by_k3s
from nodeward.facts.kubelet_flags import FLAG_OF
from nodeward.facts.kubelet_merge import Layer, Rules
from nodeward.facts.kubelet_shown import text
from nodeward.facts.supervisors import CONFIG as CONFIG_OF
from nodeward.facts.supervisors import DATA, K0S, RKE2, UNITS
from nodeward.model import Absent, Evidence, Remedy, Source, Status, Unreadable, Verdict

Answers = KubeletAnswers | Absent | Unreadable
NOT_ASKED = Absent("what the kubelet shows of itself")
"""For checks of flags, of which it shows nothing."""

AUTHN = Source(
    "Kubernetes: kubelet authentication and authorization",
    "https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/",
)
CONFIG = Source(
    "Kubernetes: KubeletConfiguration v1beta1",
    "https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/",
)
CONFIG_FILE = Source(
    "Kubernetes: set kubelet parameters by file and drop-ins",
    "https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/",
)
LENIENT = Source(
    "Kubernetes source: cmd/kubelet/app/server.go",
    "https://github.com/kubernetes/kubernetes/blob/master/cmd/kubelet/app/server.go",
)
FLAGS = Source(
    "Kubernetes: kubelet command line",
    "https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/",
)
PORTS = Source(
    "Kubernetes: ports and protocols",
    "https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
)

RESTART = ("systemctl restart kubelet",)
NOT_PROBED = "from configuration, not probed"


def maps(
    cis: Sequence[str] = (),
    nsa: Sequence[str] = (),
    stig: Sequence[str] = (),
    sac: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Mappings by identifier."""
    return {
        "sac": list(sac),
        "cis-kubernetes-1.12": list(cis),
        "nsa-cisa-1.2": list(nsa),
        "stig": list(stig),
    }


def shown(path: str, setting: Setting) -> Evidence:
    return Evidence(path, text(setting.value), setting.source)


def said(path: str, setting: Setting) -> str:
    """`path is value (source)`, or that it could not be told."""
    if isinstance(setting.value, Unknown):
        return f"{path} could not be told: {setting.value.why}"
    return f"{path} is {text(setting.value)} ({setting.source})"


def unknown(path: str, setting: Setting) -> Verdict:
    """The verdict on a value that could not be told, or that is of no type of this field."""
    value = setting.value
    if isinstance(value, Unknown):
        return Verdict.unknown(f"{path} could not be told: {value.why}", shown(path, setting))
    return Verdict.unknown(f"{said(path, setting)}, which is no value of it", shown(path, setting))


def mend(kubelet: Kubelet, path: str, good: str, *, breaks: str = "") -> Remedy:
    """Change the very place that wins on this node, and restart."""
    return Remedy(_advice(kubelet, path, good), (restart(kubelet),), breaks)


def mend_all(kubelet: Kubelet, wanted: Mapping[str, str]) -> Remedy:
    """The same for several settings that are wrong."""
    every = dict.fromkeys(_advice(kubelet, path, good) for path, good in wanted.items())
    return Remedy(" ".join(every), (restart(kubelet),))


def take_out(kubelet: Kubelet, found: Sequence[Evidence]) -> Remedy:
    """What is wrong by being there, each in its file or flag."""
    every = dict.fromkeys(f"Correct or remove {one.what} in {one.source}." for one in found)
    return Remedy(" ".join([*every][:MOST_NAMED]), (restart(kubelet),))


MOST_NAMED = 5


def _advice(kubelet: Kubelet, path: str, good: str) -> str:
    match supervisor(kubelet.launch):
        case "k3s" | "rke2" as program:
            return _in_rancher(kubelet, path, good, program)
        case "k0s":
            return _in_k0s(kubelet, path, good)
        case "kubelite":
            return _in_microk8s(kubelet, path, good)
        case _:
            return _by_itself(kubelet, path, good)


def _by_itself(kubelet: Kubelet, path: str, good: str) -> str:
    setting = kubelet.get(path)
    flag = _as_flag(path, good)
    file = next((f.path for f in kubelet.files if not f.dropin), None)
    match setting.layer:
        case Layer.FLAG:
            return (
                f"Flags win over every file: remove {setting.source}, or set it to {good};"
                f" then {path}: {good} belongs in {file or 'a file given with --config'}."
            )
        case Layer.DROPIN if good in ZEROS and kubelet.effective[0].rules is Rules.MERGO:
            return _over_mergo(kubelet, path, good, file)
        case Layer.FILE | Layer.DROPIN if setting.place:
            return f"Set {path}: {good} in {_place(setting)}."
        case Layer.LEGACY:
            return (
                f"Start the kubelet with --config and set {path}: {good} in that file. Without"
                " --config it keeps the defaults of its flags"
                + (f"; until then add --{flag}." if flag else ".")
            )
        case _:
            return f"Set {path}: {good} in {file or 'the file given with --config'}."


def supervisor(launch: Launch) -> str:
    """Which program starts this kubelet or holds it; "" for a kubelet of its own."""
    if launch.program in ("k3s", "kubelite"):
        return launch.program
    for program in (RKE2, K0S):
        units = (unit.removesuffix(".service") for unit in UNITS[program])
        below = (launch.exe or "").startswith(f"{DATA[program]}/")
        if below or launch.unit.removesuffix(".service") in units:
            return program
    return ""


def _as_flag(path: str, good: str) -> str:
    """`read-only-port=0`, `feature-gates=NodeSwap=false`; "" where no flag sets the field."""
    if path.startswith("featureGates."):
        return f"feature-gates={path.removeprefix('featureGates.')}={good}"
    flag = FLAG_OF.get(path)
    return f"{flag}={good.strip('[]')}" if flag else ""


def _in_rancher(kubelet: Kubelet, path: str, good: str, program: str) -> str:
    """k3s and RKE2 give no --config, and write some of their drop-ins anew at each start."""
    setting = kubelet.get(path)
    if setting.layer in (Layer.FILE, Layer.DROPIN) and not is_written_by_k3s(setting.place):
        return f"Set {path}: {good} in {setting.source.partition(' ')[0]}."
    flag, folder = _as_flag(path, good), kubelet.arguments.given("config-dir")
    configuration = (
        f"the configuration file of {program} ({CONFIG_OF[program]} where none is named)"
    )
    given = ", from " in setting.source and "k3s itself" not in setting.source
    if setting.layer is Layer.FLAG and given:
        return f"Flags win over every file: set it to {good} where {setting.source} stands."
    if flag and (setting.layer in (Layer.LEGACY, Layer.FLAG) or folder is None):
        return f"Add {flag} to kubelet-arg in {configuration}."
    if folder is None:
        return (
            f"Set {path}: {good} in a file, and add config=FILE to kubelet-arg in {configuration}."
        )
    return f"Set {path}: {good} in a drop-in of your own, {folder.value}/90-own.conf."


def _in_k0s(kubelet: Kubelet, path: str, good: str) -> str:
    """pkg/component/worker/kubelet.go: its file is written at each start, from a profile."""
    flag = _as_flag(path, good)
    if kubelet.get(path).layer is Layer.FLAG:
        return f"Flags win over every file: give --{flag} in --kubelet-extra-args of k0s."
    return (
        f"Set {path}: {good} in a profile for workers (spec.workerProfiles of the controller's"
        " k0s.yaml, named by --profile of this node's k0s)"
        + (f", or add --{flag} to its --kubelet-extra-args" if flag else "")
        + ": k0s writes the kubelet's own file anew at each start."
    )


def _in_microk8s(kubelet: Kubelet, path: str, good: str) -> str:
    """kubelite has one file of flags, and of --config no more than stands there."""
    setting, flag = kubelet.get(path), _as_flag(path, good)
    arguments = next((where for where, _ in kubelet.launch.sources), MICROK8S_ARGS)
    if setting.layer in (Layer.FILE, Layer.DROPIN) and setting.place:
        return f"Set {path}: {good} in {_place(setting)}."
    if flag:
        instead = f", in place of {setting.source}" if setting.layer is Layer.FLAG else ""
        return f"Give the line --{flag} in {arguments}{instead}."
    file = next((f.path for f in kubelet.files if not f.dropin), "")
    return f"Set {path}: {good} in " + (
        file or f"a file, and name that by a line --config=FILE in {arguments}."
    )


ZEROS = ("false", "0", '""', "[]")


def _place(setting: Setting) -> str:
    """The file with its line, where the source is one."""
    word = setting.source.partition(" ")[0]
    return word if word.startswith(setting.place) else setting.place


def _over_mergo(kubelet: Kubelet, path: str, good: str, file: str | None) -> str:
    """1.28 ignores a zero in a drop-in, and fills the defaults that are none into each."""
    setting, flag = kubelet.get(path), FLAG_OF.get(path, "")
    where = file or "a file given with --config"
    if setting.source.startswith(setting.place):
        return (
            f"Remove {path} from {_place(setting)}: 1.28 ignores {good} in a drop-in."
            f" {path}: {good} belongs in {where}."
        )
    instead = f"add --{flag}={good}" if flag else f"remove --config-dir, and set it in {where}"
    return f"1.28 fills its default of {path} into every drop-in: {instead}."


def restart(kubelet: Kubelet) -> str:
    origin, program = kubelet.launch.origin, supervisor(kubelet.launch)
    if program == "kubelite":
        return "snap restart microk8s.daemon-kubelite"
    unit = origin if origin.endswith(".service") else kubelet.launch.unit
    if unit == "kubelet" and program in UNITS:
        return f"systemctl try-restart {' '.join(UNITS[program])}"
    return f"systemctl restart {unit}"


MOST_OTHERS = 20
_WORST = (Status.ERROR, Status.FAIL, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE)


def each(kubelet: Kubelet, answers: Answers, judge: Callable[[Kubelet], Verdict]) -> Verdict:
    """The worst verdict over this host's kubelets, which is nearly always one, each by what is
    known to be in force."""
    return each_asked(kubelet, answers, lambda one, _: judge(one))


def each_asked(
    kubelet: Kubelet, answers: Answers, judge: Callable[[Kubelet, Answers], Verdict]
) -> Verdict:
    """The same, each with what its own ports answered."""
    return each_on_disk(kubelet, lambda one: _in_force(one, answers_of(answers, one), judge))


def answers_of(answers: Answers, kubelet: Kubelet) -> Answers:
    """What this kubelet's own ports answered."""
    return answers.of(kubelet.pid) if isinstance(answers, KubeletAnswers) else answers


def each_on_disk(kubelet: Kubelet, judge: Callable[[Kubelet], Verdict]) -> Verdict:
    """The same by what is on disk by now, for checks of the files themselves, and of what no file
    of the kubelet's decides."""
    if not kubelet.others and not kubelet.unread:
        return judge(kubelet)
    found = [(str(k), judge(k)) for k in (kubelet, *kubelet.others)]
    found += [(name, Verdict.unknown(f"could not look at {why}")) for name, why in kubelet.unread]
    one, verdict = min(found, key=lambda pair: _rank(pair[1]))
    others = [
        Evidence(f"{v.status} of another kubelet here", v.because, name)
        for name, v in found
        if name != one
    ]
    return Verdict(
        verdict.status,
        f"{one}: {verdict.because}; {len(found)} kubelets run here",
        (*verdict.evidence, *others[:MOST_OTHERS]),
        verdict.severity,
        verdict.remedy,
    )


def _in_force(
    kubelet: Kubelet, answers: Answers, judge: Callable[[Kubelet, Answers], Verdict]
) -> Verdict:
    """A kubelet reads its files at its start. It is judged as far as what it has read is known:
    so nothing passes that only stands in a file. What the next start will bring is judged too, for
    a bad file is a finding by itself."""
    configz = answers.configz if isinstance(answers, KubeletAnswers) else None
    stale = kubelet.stale
    if configz is None and not stale:
        return _agreed(kubelet, answers, judge)
    now = _agreed(kubelet.in_force(configz), answers, judge)
    if not stale:
        return now
    later = _agreed(kubelet, answers, judge)
    if now.status is later.status and now.status is not Status.UNKNOWN:
        return replace(later, evidence=(*later.evidence, *_changes(kubelet)))
    if now.status is Status.UNKNOWN:
        status = Status.FAIL if later.status is Status.FAIL else Status.UNKNOWN
        because = f"{later.because}; that takes effect at the next start: {stale}"
        evidence = (*later.evidence, *_changes(kubelet))
        return replace(later, status=status, because=because, evidence=evidence)
    because = f"{now.because}; from the next start: {later.because}"
    return replace(now, because=because, evidence=(*now.evidence, *_changes(kubelet)))


def _agreed(
    kubelet: Kubelet, answers: Answers, judge: Callable[[Kubelet, Answers], Verdict]
) -> Verdict:
    """Where values differ by merge rules and the version is not known, the verdicts may agree."""
    found = judge(kubelet, answers)
    if found.status is not Status.UNKNOWN or len(kubelet.effective) == 1:
        return found
    each_ = [judge(one, answers) for one in kubelet.generations()]
    if len({one.status for one in each_}) != 1 or each_[0].status is Status.UNKNOWN:
        return found
    because = f"{each_[-1].because}; every merge rule that may apply leads to this verdict"
    return replace(each_[-1], because=because)


MOST_CHANGES = 5


def _changes(kubelet: Kubelet) -> list[Evidence]:
    what = "changed after the kubelet started"
    return [Evidence(what, moment(at), path) for path, at in kubelet.changed()[:MOST_CHANGES]]


def _rank(verdict: Verdict) -> tuple[int, bool]:
    """The worst first; a severity of its own is always a lower one than the check's."""
    return _WORST.index(verdict.status), verdict.severity is not None


def port_of(answers: Answers, role: str) -> Port | None:
    """What a port said, where it was asked and is the kubelet's."""
    if not isinstance(answers, KubeletAnswers):
        return None
    port = answers.port(role)
    if port is None or not port.asked:
        return None
    return port if port.replies or port.tls or port.barred else None


def silent(port: Port | None, path: str) -> str | None:
    """Why the kubelet's own open port gave no answer that tells anything; None when it did."""
    answer = port.reply(path) if port is not None else None
    if port is None or (answer is not None and answer.anonymous_is_someone is not None):
        return None
    if port.barred:
        return f"port {port.number} is open and could not be asked: {port.error}"
    if answer is None:
        return f"port {port.number} is open, and GET {path} got no answer"
    if answer.outcome == "answered":
        return (
            f"port {port.number} answers {answer} to GET {path}, which does not tell who is let in"
        )
    return f"port {port.number} is open and gives no answer ({answer.outcome})"


def serves_nothing(kubelet: Kubelet, answers: Answers) -> str | None:
    """Why nobody is let in, whatever else is set: there is no server. None where there is one."""
    setting = kubelet.get("enableServer")
    port = answers.port(SECURE) if isinstance(answers, KubeletAnswers) else None
    if setting.value is not False or (port is not None and port.asked):
        return None
    return f"the kubelet serves no port: {said('enableServer', setting)}"


def mute(port: Port | None, tls: Tls | None) -> str | None:
    """Why a hello to the kubelet's own open port told nothing; None when it did, or none was sent.
    What its configuration promises was then not seen."""
    if port is not None and port.barred:
        return f"port {port.number} is open and could not be asked: {port.error}"
    if port is None or port.tls is None:
        return None
    outcome = (tls or port.tls).outcome
    alert = "tls-alert" if tls is not None and tls is not port.tls else None
    if outcome in ("answered", alert):
        return None
    return f"port {port.number} is open and tells nothing of its TLS ({outcome})"


def unprobed(answers: Answers, because: str, role: str = SECURE) -> str:
    """The sentence, with a note where the port of this role was not asked, or is not the kubelet's
    (role "": it need not be)."""
    if not isinstance(answers, KubeletAnswers) or not answers.probed:
        return f"{because}; {NOT_PROBED}"
    port = answers.port(role)
    if port is None or (port.asked and not port.error):
        return because
    why = f"it is held by {port}" if port.listeners else "nothing listens there"
    return f"{because}; port {port.number} was not asked: {port.error or why}"
