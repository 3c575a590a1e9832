"""`lykta check security`: finds settings that let an attacker in. Reports what it has no permission to read; changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.commands.check.findings import Finding
from agent.commands.check.ownership import changeable, changeable_program
from drivers import board
from privacy.errors import LyktaError
from privacy.foreign import decode
from provisioning.layout import Layout

_SSHD = {
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "permitrootlogin": "no",
    "maxauthtries": "3",
    "x11forwarding": "no",
    "allowagentforwarding": "no",
    "allowtcpforwarding": "local",
    "allowstreamlocalforwarding": "local",
}
_SSH = 22
_MOST_RULES = 4 << 20
_SHOWN = 3
_ROOT = "run it as root: sudo lykta check security"


class _Ruleset(Struct, frozen=True):
    """The output of `nft` in JSON."""

    nftables: list[dict[str, Any]]


def security(layout: Layout) -> list[Finding]:
    found: list[Finding] = []
    if layout.root != Path("/"):
        found.append(_warn("machine: not looked at: this node lies in a folder", "firewall and SSH are this machine's own"))
    for look in (*_OF_NODE, *(_OF_MACHINE if layout.root == Path("/") else ())):
        try:
            found += look(layout)
        except (OSError, LyktaError, subprocess.TimeoutExpired, ValueError, KeyError) as problem:
            found.append(_unseen(look.__name__.strip("_"), str(problem)))
    return found


def _ok(what: str) -> Finding:
    return Finding("security", "ok", what)


def _warn(what: str, hint: str) -> Finding:
    return Finding("security", "warn", what, hint)


def _fail(what: str, hint: str) -> Finding:
    return Finding("security", "fail", what, hint)


def _unseen(what: str, why: str) -> Finding:
    return _warn(f"{what}: not seen: {why.strip().splitlines()[-1] if why.strip() else 'no answer'}", _ROOT)


def _told(*words: str) -> str:
    """The output of a program; `LyktaError` with its stderr if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=10, check=False)
    if done.returncode:
        raise LyktaError(done.stderr or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def _firewall(_layout: Layout) -> list[Finding]:
    rules = decode(_told("/usr/sbin/nft", "-j", "list", "ruleset").encode(), _Ruleset, "nft", most=_MOST_RULES).nftables
    chains: list[dict[str, Any]] = [one["chain"] for one in rules if one.get("chain", {}).get("table") == "lykta"]
    policy = {chain["name"]: chain.get("policy") for chain in chains}
    if policy.get("input") != "drop" or policy.get("forward") != "drop":
        return [_fail("firewall: is not loaded", "systemctl restart lykta-firewall")]
    shipped = _ports(rules)
    if shipped != {_SSH}:
        return [_fail(f"firewall: lets in TCP ports {sorted(shipped)}", "systemctl restart lykta-firewall")]
    return [_ok("firewall: drops all but SSH")]


def _ports(rules: list[dict[str, Any]]) -> set[Any]:
    """TCP ports that accepting rules of our table name; anything but a single port is returned as text."""
    found: set[Any] = set()
    for one in rules:
        rule = one.get("rule", {})
        if rule.get("table") != "lykta" or {"accept": None} not in rule["expr"]:
            continue
        for part in rule["expr"]:
            match = part.get("match", {})
            if match.get("left", {}) == {"payload": {"protocol": "tcp", "field": "dport"}}:
                found.add(match["right"] if isinstance(match["right"], int) else json.dumps(match["right"]))
    return found


def _sshd(_layout: Layout) -> list[Finding]:
    if not Path("/usr/sbin/sshd").exists():
        return [_ok("ssh: no server is installed")]
    lines = (line.partition(" ") for line in _told("/usr/sbin/sshd", "-T").splitlines())
    found = {name: value for name, _, value in lines}
    wrong = [f"{name} {found.get(name)}" for name, value in _SSHD.items() if found.get(name) != value]
    if wrong:
        return [_fail(f"ssh: {', '.join(wrong)}", "is /etc/ssh/sshd_config.d/00-lykta.conf there, and read first?")]
    return [_ok("ssh: keys or certificates only")]


def _listening(_layout: Layout) -> list[Finding]:
    others = sorted(board.listening() - {_SSH})
    if others:
        return [_warn(f"listening: TCP ports {', '.join(map(str, others))}", "ss -tlnp names the program: remove it")]
    return [_ok("listening: SSH at most")]


def _credentials(layout: Layout) -> list[Finding]:
    keys = sorted(path for pattern in ("*.key", "*.cred") for path in layout.certificates.glob(pattern))
    wide = [path.name for path in keys if path.stat().st_mode & 0o077]
    if wide:
        return [_fail(f"credentials: others may read {', '.join(wide)}", f"chmod 600 {wide[0]}, in {layout.certificates}")]
    return [_ok(f"credentials: {len(keys)} keys for their owner only")]


def _owners(layout: Layout) -> set[int]:
    """User ids that may own files: root; for a node in a folder, run without root, also the user who runs it."""
    return {0} if layout.root == Path("/") else {0, os.geteuid()}


def _trust(layout: Layout) -> list[Finding]:
    """Settings, records, keys and certificates: only root may change them."""
    places = [layout.etc, layout.trust, layout.certificates]
    places += layout.etc.parents if layout.root == Path("/") else []
    files = [layout.config, layout.basis, layout.view, layout.overlay]
    files += [path for folder in (layout.trust, layout.certificates) if folder.is_dir() for path in sorted(folder.iterdir())]
    loose = [why for path in (*places, *files) if os.path.lexists(path) and (why := changeable(str(path), _owners(layout)))]
    if loose:
        return [_fail(f"trust: {'; '.join(loose)}", f"chown root, and chmod go-w, what is named below {layout.etc}")]
    return [_ok("trust: settings, records, keys and certificates are changed by their owner only")]


def _program(layout: Layout) -> list[Finding]:
    """The code that root's units run: a user who can change it becomes root. Folders above and link targets count too."""
    loose = changeable_program(layout.root / "opt/lykta", _owners(layout))
    if loose:
        more = f" and {len(loose) - _SHOWN} more" if len(loose) > _SHOWN else ""
        hint = "`sudo provisioning/setup/install.sh` makes a copy of root's in /opt/lykta"
        return [_fail(f"program: {'; '.join(loose[:_SHOWN])}{more}", hint)]
    return [_ok("program: only root may change what root runs")]


def _drop_ins(layout: Layout) -> list[Finding]:
    folder = layout.root / "etc/systemd/system"
    found = sorted(path for pattern in ("lykta-*.d/*.conf", "lykta-*.service") for path in folder.glob(pattern))
    if found:
        return [_warn(f"units: changed by {', '.join(map(str, found))}", "`systemctl cat` shows what it changes")]
    return [_ok("units: as shipped")]


def _watchdog(_layout: Layout) -> list[Finding]:
    value = _told("systemctl", "show", "--property=RuntimeWatchdogUSec", "--value").strip()
    if value in ("", "0", "infinity"):
        return [_warn("watchdog: the machine's is off", "is system.conf.d/lykta.conf installed, and a /dev/watchdog there?")]
    return [_ok(f"watchdog: {value}")]


def _swap(_layout: Layout) -> list[Finding]:
    areas = Path("/proc/swaps").read_text().splitlines()[1:]
    # zram stays in memory and ends with the power.
    disks = [name for line in areas if not (name := line.split()[0]).startswith("/dev/zram")]
    if disks:
        return [_fail(f"swap: on {', '.join(disks)}", "swapoff -a, and disable dphys-swapfile: pictures must not reach a disk")]
    return [_ok("swap: none on a disk")]


def _accounts(layout: Layout) -> list[Finding]:
    lines = (line.split(":") for line in (layout.root / "etc/shadow").read_text().splitlines())
    # A line without a colon is no account: login ignores it too.
    found = [parts[0] for parts in lines if len(parts) > 1 and not parts[1].startswith(("!", "*"))]
    if found:
        return [_warn(f"accounts: a password for {', '.join(found)}", f"passwd -l {found[0]}")]
    return [_ok("accounts: none has a password")]


_OF_NODE: tuple[Callable[[Layout], list[Finding]], ...] = (_credentials, _trust, _program, _drop_ins, _accounts)
_OF_MACHINE: tuple[Callable[[Layout], list[Finding]], ...] = (_firewall, _sshd, _listening, _watchdog, _swap)
