"""The virtual node looks at itself: run as root in the VM at each boot, one JSON line a check on the second serial line.

First boot: every check, then PID 1 crashes. Second boot, by the watchdog: then the kernel crashes. Third: power off.
With `lab=stolen` on the kernel's line the same disk stands in another machine, whose TPM is not the one of the keys.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from agent.runtime.ask_status import status_of
from privacy.errors import LyktaError
from provisioning.layout import Layout

LAB = Path("/srv/lab")
OUTBOX = "/var/lib/lykta/io/outbox.db"
SERVICES = ("camera", "io", "uplink")
BUTTON, LAMP = Path("/run/lab-node/sim_gpio17"), Path("/run/lab-node/sim_gpio27")
GPIO, VIDEO = "/dev/gpiochip0", "/dev/video0"
# How systemd 257 marks what a sealed credential needs (src/shared/creds-util.h), as the first of its bytes after base64.
TPM_SEALS = {
    "0c7cc07b117645919c4b0bea08bc20fe": "TPM",
    "93a894094874449090caf2fc93cab553": "host key and TPM",
}
OUTCOMES = {True: "PASS", False: "FAIL", None: "SKIP"}
PATIENCE_S = 60 * int(os.environ.get("LAB_PATIENCE", "1"))
EMULATED = PATIENCE_S > 60


@dataclass
class Found:
    """What a check saw, and how much of what. passed: None if there was nothing to look at."""

    passed: bool | None
    figure: str


class Report:
    def __init__(self, line: Path) -> None:
        self._line = line.open("w", buffering=1)

    def say(self, **words: object) -> None:
        self._line.write(json.dumps(words) + "\n")

    def check(self, name: str, look: Callable[[], Found]) -> None:
        """One check; what it raises is a failure with that word, and the others go on."""
        begin = time.monotonic()
        try:
            found = look()
        except (AssertionError, OSError, ValueError, LookupError, LyktaError, sqlite3.Error, subprocess.SubprocessError) as problem:
            found = Found(False, f"{type(problem).__name__}: {problem}"[:600])
        self.say(check=name, outcome=OUTCOMES[found.passed], figure=found.figure, seconds=round(time.monotonic() - begin, 1))


def run(*words: str, limit: float = 60) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}: {(done.stdout + done.stderr)[-400:]}"
    return done.stdout.strip()


def until(met: Callable[[], object], what: str, limit_s: float = PATIENCE_S, pause_s: float = 0.05) -> float:
    """Seconds until it was so."""
    begin = time.monotonic()
    while not met():
        assert time.monotonic() - begin < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(pause_s)
    return time.monotonic() - begin


def show(unit: str, name: str) -> str:
    return run("systemctl", "show", "--value", "-p", name, unit)


def pid(service: str) -> int:
    return int(show(f"lykta-{service}", "MainPID"))


def state(service: str) -> str:
    try:
        standing = msgspec.to_builtins(status_of(Layout(Path("/")), service).standing)
    except LyktaError:
        return "silent"
    return f"{standing['state']} {standing['reason']}"


def cgroup(service: str, name: str) -> Path:
    return Path(f"/sys/fs/cgroup/system.slice/lykta-{service}.service/{name}")


# -- boot and keys ---------------------------------------------------------------------------------------------------------


def ready() -> Found:
    until(lambda: all(state(name).startswith("ready") for name in SERVICES), "camera, io and uplink are ready")
    up = float(Path("/proc/uptime").read_text().split()[0])
    restarts = {name: show(f"lykta-{name}", "NRestarts") for name in SERVICES}
    return Found(set(restarts.values()) == {"0"}, f"ready {up:.1f} s after the kernel began, restarts {restarts}")


def help_ready() -> Found:
    seconds = until(lambda: all(state(name).startswith("ready") for name in ("io", "uplink")), "io and uplink are ready")
    return Found(True, f"io and uplink, {seconds:.1f} s after the pins were there")


def no_unit_failed() -> Found:
    failed = [line.split()[0] for line in run("systemctl", "--failed", "--plain", "--no-legend").splitlines()]
    return Found(failed == [], ", ".join(failed) or "none failed")


def sealed_to_the_tpm() -> Found:
    import base64

    folder = Path("/etc/lykta/credentials")
    seals = {path.name: base64.b64decode(path.read_bytes())[:16].hex() for path in sorted(folder.glob("*.cred"))}
    words = {name: TPM_SEALS.get(seal, f"no TPM ({seal})") for name, seal in seals.items()}
    plain = [path.name for path in folder.glob("*.key")]
    return Found(
        bool(words) and set(seals.values()) <= set(TPM_SEALS) and not plain, f"{words}, plain keys left: {plain or 'none'}"
    )


def closed_to_another_tpm() -> Found:
    """R30: the card in another machine gives no key."""
    done = subprocess.run(
        ["systemd-creds", "decrypt", "--name=camera.key", "/etc/lykta/credentials/camera.cred", "-"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    told = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
    return Found(done.returncode != 0 and not done.stdout, f"systemd-creds: {told[0]}")


def help_without_a_key() -> Found:
    """A node whose keys do not open still answers its help button."""
    until(lambda: state("io").startswith("degraded"), "io is up, and says that it has no key")
    lit_s = press_until_lit()
    return Found(lit_s < 1, f"io is {state('io')}; lamp {lit_s * 1000:.0f} ms after the button; camera {state('camera')}")


# -- help ------------------------------------------------------------------------------------------------------------------


def press_until_lit() -> float:
    """Close the contact; seconds until the lamp's line is up. Nobody drives it before io does: it is pulled up then."""
    until(lambda: (LAMP / "value").read_text().strip() == "0", "io holds the lamp's line low", 60)
    begin = time.monotonic()
    (BUTTON / "pull").write_text("pull-down")
    until(lambda: (LAMP / "value").read_text().strip() == "1", "the lamp's line rises", 10, 0.001)
    return time.monotonic() - begin


def heard() -> list[dict[str, Any]]:
    rows = [line.split("\t", 3) for line in (LAB / "heard").read_text(errors="replace").splitlines()]
    return [json.loads(row[3])["body"] for row in rows if len(row) == 4 and row[2].endswith("/event/help") and row[3]]


def in_outbox() -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{OUTBOX}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM messages WHERE tail = 'event/help'").fetchone())


def stop_uplink() -> None:
    """Stand still, wherever it is: it holds nothing that io waits for."""
    os.kill(pid("uplink"), signal.SIGSTOP)


def help_button(report: Report) -> None:
    """One press of the real line; the uplink stands still until its event was seen in the outbox, which it would empty at once."""
    times: dict[str, float] = {}

    def press() -> Found:
        stop_uplink()
        try:
            times["begin"] = time.monotonic()
            times["lamp"] = press_until_lit()
            until(in_outbox, "the event is in the outbox", 10, 0.001)
            times["outbox"] = time.monotonic() - times["begin"]
        finally:
            os.kill(pid("uplink"), signal.SIGCONT)
        until(heard, "the operator hears it", 30, 0.005)
        times["broker"] = time.monotonic() - times["begin"]
        return Found(times["lamp"] < 0.3, f"line of the lamp up {times['lamp'] * 1000:.0f} ms after the button's")

    report.check("help button: the lamp lights at once", press)
    report.check("help button: event in the outbox within 300 ms", lambda: within(times["outbox"], 0.3))
    report.check("help button: at the broker within 1 s", lambda: within(times["broker"], 1.0))
    report.check("help button: the lamp blinks", blinks)


def within(seconds: float, bound_s: float) -> Found:
    return Found(seconds <= bound_s, f"{seconds * 1000:.0f} ms")


def blinks() -> Found:
    (BUTTON / "pull").write_text("pull-up")
    levels = []
    end = time.monotonic() + 4
    while time.monotonic() < end:
        levels.append((LAMP / "value").read_text().strip())
        time.sleep(0.02)
    edges = sum(a != b for a, b in itertools.pairwise(levels))
    return Found(edges >= 6, f"{edges} changes of the line in 4 s")


def pins_contract() -> Found:
    chip = f"/dev/{Path('/run/lab-bench').resolve().name}"
    environment = os.environ | {"LYKTA_GPIOCHIP": chip, "LYKTA_GPIOSIM": str(Path("/run/lab-bench").resolve())}
    words = ["/opt/lykta/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(LAB / "tests/drivers/test_pins.py")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=5 * PATIENCE_S, check=False, env=environment, cwd=LAB)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    return Found(done.returncode == 0 and "skipped" not in last, " / ".join([last, *failed[:12]]))


def acceptance_list() -> Found:
    """`make test-pi`'s own program, here: what camera and io do with hardware, under their units' seccomp and W^X."""
    out = LAB / "acceptance.json"
    words = ["/opt/lykta/bin/python", "-m", "tests.hardware.run", "--out", str(out), "--load", "0"]
    subprocess.run(words, capture_output=True, timeout=8 * PATIENCE_S, check=False, cwd=LAB)
    items = json.loads(out.read_bytes())["items"]
    steps = {name: item for name, item in items.items() if ": " in name and "enumerates" not in name}
    failed = [f"{name}: {item['figure']}" for name, item in steps.items() if item["outcome"] != "PASS"]
    return Found(
        len(steps) == 9 and not failed, " / ".join(failed) or "; ".join(f"{name}: {item['figure']}" for name, item in steps.items())
    )


def busy_line() -> Found:
    """Another program has the help button's line, as of a wrong HAT's driver: io names it, and is itself again once it is free."""
    run("systemctl", "stop", "lykta-io")
    holder = subprocess.Popen(["gpioset", "-c", GPIO, "-C", "lab-hat", "17=1"])
    try:
        run("systemctl", "start", "--no-block", "lykta-io")
        until(lambda: "held by lab-hat" in run("journalctl", "-q", "-b", "-o", "cat", "-u", "lykta-io"), "io names the holder")
    finally:
        holder.kill()
        holder.wait()
    seconds = until(lambda: state("io").startswith("ready"), "io has its line")
    told = [line for line in run("journalctl", "-q", "-b", "-o", "cat", "-u", "lykta-io").splitlines() if "lab-hat" in line]
    return Found(True, f"{told[-1]}; ready again {seconds:.1f} s after it was free")


# -- sandboxes -------------------------------------------------------------------------------------------------------------


def doors(service: str) -> dict[str, str]:
    """Which devices a program opens that runs in the service's place; the devices' own rights stand open meanwhile."""
    unit, out = f"lykta-{service}.service", Path(f"/run/lykta/{service}/doors.json")
    for device in (GPIO, VIDEO):
        Path(device).chmod(0o666)
    drop_in = Path(f"/run/systemd/system/{unit}.d/lab.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    program = f"/usr/bin/python3 {LAB}/doors.py {out} {GPIO} {VIDEO} /dev/null"
    drop_in.write_text(f"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart={program}\n")
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", unit)
        found: dict[str, str] = json.loads(out.read_bytes())
    finally:
        drop_in.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", unit)
        for device in (GPIO, VIDEO):
            Path(device).chmod(0o660)
    return found


def device_cgroup(service: str, expected: dict[str, str]) -> Found:
    found = doors(service)
    until(lambda: state(service).startswith("ready"), f"{service} is itself again")
    return Found(found == expected, ", ".join(f"{path}: {how}" for path, how in found.items()))


def swap_stays_out() -> Found:
    """Each service's memory is pressed out of its control group; a process without the directive shows that there is swap."""
    limits = {name: cgroup(name, "memory.swap.max").read_text().strip() for name in SERVICES}
    run("systemd-run", "--unit=lab-swapped", "/usr/bin/python3", "-c", "import time; kept = b'x' * 64_000_000; time.sleep(600)")
    time.sleep(3)
    control = Path("/sys/fs/cgroup/system.slice/lab-swapped.service")
    swapped = {"without the directive": squeezed(control, int(show("lab-swapped", "MainPID")))}
    for name in SERVICES:
        swapped[name] = squeezed(cgroup(name, ""), pid(name))
    run("systemctl", "stop", "lab-swapped")
    fine = set(limits.values()) == {"0"} and swapped.pop("without the directive") > 0 and set(swapped.values()) == {0}
    return Found(fine, f"memory.swap.max {limits}; kB swapped under pressure {swapped}, without the directive more than none")


def squeezed(group: Path, leader: int) -> int:
    """kB of a process in swap after its group was told to give memory back; it gives what it can and refuses the rest."""
    with contextlib.suppress(BlockingIOError):
        (group / "memory.reclaim").write_text("48M")
    (line,) = [line for line in Path(f"/proc/{leader}/status").read_text().splitlines() if line.startswith("VmSwap")]
    return int(line.split()[1])


def no_core() -> Found:
    """A piped core_pattern, which LimitCORE=0 would not stop. A shell without the directive shows that the pipe works."""
    cores = LAB / "cores"
    cores.mkdir(exist_ok=True)
    Path("/proc/sys/kernel/core_pattern").write_text(f"|{LAB}/core.sh %e %p")
    subprocess.run(["sh", "-c", "kill -SEGV $$"], timeout=10, check=False)
    until(lambda: any(cores.glob("sh-*")), "the pipe takes a core at all", 10)
    before = pid("camera")
    os.kill(before, signal.SIGSEGV)
    until(lambda: pid("camera") not in (0, before), "the camera is started again")
    until(lambda: state("camera").startswith("ready"), "the camera films again")
    result = [path.name for path in cores.iterdir() if path.name.endswith(f"-{before}")]
    return Found(result == [], f"cores of the camera: {result or 'none'}; of a shell: {len(list(cores.glob('sh-*')))}")


def rest_of_io() -> Found:
    """At rest: under 40 MB and, unless the core is emulated, under 1 % of one."""
    (line,) = [line for line in Path(f"/proc/{pid('io')}/status").read_text().splitlines() if line.startswith("VmRSS")]
    megabytes = int(line.split()[1]) / 1024

    def used() -> int:
        return int(cgroup("io", "cpu.stat").read_text().split()[1])

    begin, before = time.monotonic(), used()
    time.sleep(20)
    share = (used() - before) / 1e4 / (time.monotonic() - begin)
    core = "an emulated core" if EMULATED else "a core"
    return Found(megabytes < 40 and (EMULATED or share < 1), f"{megabytes:.1f} MB resident, {share:.2f} % of {core}")


def watchdog_runs() -> Found:
    device = Path("/sys/class/watchdog/watchdog0")
    facts = {name: (device / name).read_text().strip() for name in ("identity", "state", "timeout")}
    return Found(
        facts["state"] == "active", f"{facts}, systemd asks for {run('systemctl', 'show', '--value', '-p', 'RuntimeWatchdogUSec')}"
    )


# -- life ------------------------------------------------------------------------------------------------------------------


def first(report: Report) -> None:
    report.check("keys sealed to the TPM", sealed_to_the_tpm)
    report.check("help is ready", help_ready)
    help_button(report)
    report.check("three services ready, no restart", ready)
    report.check("no unit failed", no_unit_failed)
    report.check("tests/drivers/test_pins.py on gpio-sim", pins_contract)
    report.check("a line that is busy", busy_line)
    report.check("the list of make test-pi: import, detect and encode in the sandbox", acceptance_list)
    report.check("io at rest", rest_of_io)
    report.check("device control group: camera", lambda: device_cgroup("camera", {GPIO: "EPERM", VIDEO: "ok", "/dev/null": "ok"}))
    report.check("device control group: io", lambda: device_cgroup("io", {GPIO: "ok", VIDEO: "EPERM", "/dev/null": "ok"}))
    report.check("devices: uplink", lambda: device_cgroup("uplink", {GPIO: "ENOENT", VIDEO: "ENOENT", "/dev/null": "ok"}))
    report.check("no service is swapped out", swap_stays_out)
    report.check("no core through a pipe", no_core)
    report.check("hardware watchdog armed", watchdog_runs)
    report.say(now="PID 1 crashes")
    os.sync()
    os.kill(1, signal.SIGSEGV)


def second(report: Report) -> None:
    report.check("ready again after PID 1 stood still", ready)
    report.check("hardware watchdog armed again", watchdog_runs)
    report.say(now="the kernel crashes")
    os.sync()
    Path("/proc/sys/kernel/panic").write_text("0")
    Path("/proc/sysrq-trigger").write_text("c")


def third(report: Report) -> None:
    report.check("ready again after the kernel stood still", ready)
    off(report)


def stolen(report: Report) -> None:
    report.check("keys stay shut in another machine", closed_to_another_tpm)
    report.check("help answers without a key", help_without_a_key)
    off(report)


def off(report: Report) -> None:
    report.say(now="power off")
    run("systemctl", "poweroff", "--no-block")


def main() -> None:
    counter = LAB / "boot"
    boot = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(boot))
    report = Report(Path("/dev/ttyS1"))
    report.say(now=f"boot {boot}", kernel=os.uname().release)
    if "lab=stolen" in Path("/proc/cmdline").read_text():
        stolen(report)
    else:
        {1: first, 2: second}.get(boot, third)(report)


if __name__ == "__main__":
    sys.exit(main())
