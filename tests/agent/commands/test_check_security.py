"""`lykta check security`: what would let a stranger in; off a Pi and without root it says what it could not see (R41)."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.commands.check.findings import Finding
from agent.commands.check.security import security
from provisioning.layout import CODE, Layout

LOOKS = {"credentials", "trust", "program", "units", "accounts", "firewall", "ssh", "listening", "watchdog", "swap"}
UNSEEN = {"drop_ins": "units", "sshd": "ssh"}
"""What two of them are called where they saw nothing."""


def test_it_never_crashes_on_this_machine() -> None:
    """Whatever is installed here and whoever runs it: each look answers once, and what is not in order says what to do."""
    found = security(Layout(Path("/")))
    names = [one.what.split(":")[0] for one in found]
    assert sorted(UNSEEN.get(name, name) for name in names) == sorted(LOOKS)
    assert [one.what for one in found if (one.result == "ok") == bool(one.hint)] == []


@pytest.mark.parametrize("shadow", [None, b"", b"pi:\xff\xfe:\n"], ids=["none", "a folder", "no text"])
def test_a_look_that_fails_is_named_and_the_others_go_on(tmp_path: Path, shadow: bytes | None) -> None:
    path = tmp_path / "etc/shadow"
    path.parent.mkdir()
    if shadow:
        path.write_bytes(shadow)
    elif shadow is not None:
        path.mkdir()
    found = said(tmp_path)
    assert found.keys() == {"machine", "credentials", "trust", "program", "units", "accounts"}
    assert (found["accounts"].result, "not seen: " in found["accounts"].what) == ("warn", True)
    assert found["accounts"].hint


@pytest.mark.parametrize("name", ["tls.key", "camera.cred", "tls.previous.cred"])
def test_a_node_in_a_folder(tmp_path: Path, name: str) -> None:
    key = tmp_path / "etc/lykta/credentials" / name
    key.parent.mkdir(parents=True)
    key.write_text("x")
    key.chmod(0o644)
    drop_in = tmp_path / "etc/systemd/system/lykta-camera.service.d/more.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\n")
    (tmp_path / "etc/shadow").write_text("\nroot:*:1::::::\nno-colon\npi:$y$x:1::::::\n")
    found = {one.what.split(":")[0]: one for one in security(Layout(tmp_path))}
    assert (found["credentials"].result, found["units"].result, found["accounts"].result) == ("fail", "warn", "warn")
    assert name in found["credentials"].what
    assert "pi" in found["accounts"].what


def said(root: Path) -> dict[str, Finding]:
    return {one.what.split(":")[0]: one for one in security(Layout(root))}


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    for name in ("trust/ca.pem", "trust/recipients.txt", "credentials/tls.pem", "lykta.toml", "basis.jws"):
        path = tmp_path / "etc/lykta" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o644)
        path.parent.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["trust", "trust/ca.pem", "trust/recipients.txt", "credentials/tls.pem", "lykta.toml", "basis.jws", "."]
)
def test_trust_that_others_may_change_fails(trusted: Path, name: str) -> None:
    """14.B8: who writes ca.pem decides whom the node obeys; who writes recipients.txt, who opens its clips."""
    assert said(trusted)["trust"].result == "ok"
    path = trusted / "etc/lykta" / name
    path.chmod(path.stat().st_mode | 0o020)
    assert said(trusted)["trust"].result == "fail"
    assert str(path.resolve()) in said(trusted)["trust"].what


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
def test_trust_of_another_user_fails(trusted: Path) -> None:
    os.chown(trusted / "etc/lykta/trust/ca.pem", 65534, 65534)
    assert "belongs to user 65534" in said(trusted)["trust"].what


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
@pytest.mark.parametrize(
    "name",
    ["opt/lykta/lib/python3/site-packages/agent/start.py", "opt/lykta/lib", "opt/lykta/bin/python", "opt/lykta", "opt", "code"],
)
def test_a_program_that_another_user_may_change_fails(tmp_path: Path, name: str) -> None:
    """14.B8: root runs what its owner wrote; any folder on the way, and where a link leads, is as good."""
    for one in ("opt/lykta/lib/python3/site-packages/agent/start.py", "code/python"):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_text("x")
    (tmp_path / "opt/lykta/bin").mkdir()
    (tmp_path / "opt/lykta/bin/python").symlink_to("../../../code/python")
    assert said(tmp_path)["program"].result == "ok", said(tmp_path)["program"]
    os.chown(tmp_path / name, 65534, 65534, follow_symlinks=False)
    assert said(tmp_path)["program"].result == "fail"
    os.chown(tmp_path / name, 0, 0, follow_symlinks=False)
    if not (tmp_path / name).is_symlink():
        (tmp_path / name).chmod(0o777)
        assert "may be written by others" in said(tmp_path)["program"].what


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives files to another user")
def test_the_installed_program_is_a_copy_of_roots(tmp_path: Path) -> None:
    """14.B8: as `provisioning/setup/install.sh` makes it out of a checkout that belongs to somebody, in place of a link into it."""
    project = CODE
    checkout, root = tmp_path / "checkout", tmp_path / "root"
    for name in ("agent", "central", "drivers", "privacy", "provisioning", "systemd"):
        shutil.copytree(project / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    (checkout / ".venv/bin/lykta").write_text(f"#!{checkout}/.venv/bin/python\n")
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    (root / "opt").mkdir(parents=True)
    (root / "opt/lykta").symlink_to(checkout / ".venv")
    subprocess.run([checkout / "provisioning/setup/install.sh", root], check=True, capture_output=True)
    program = root / "opt/lykta"
    assert not program.is_symlink()
    found = [path.lstat() for path in (program, *program.rglob("*"))]
    assert {one.st_uid for one in found} == {0}
    assert not [one for one in found if not stat.S_ISLNK(one.st_mode) and one.st_mode & 0o022]
    assert (program / "bin/lykta").read_text() == "#!/opt/lykta/bin/python\n"
    words = [program / "bin/python", "-c", "import privacy.errors; print(privacy.errors.__file__)"]
    where = subprocess.run(words, check=True, capture_output=True, text=True, cwd="/", env={}).stdout
    assert where.startswith(str(program))
    assert not list(program.rglob("central"))
