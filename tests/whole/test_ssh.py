"""SSH as shipped, by a real sshd: keys get in, passwords do not, the set-up page's socket is reached, nothing else is (R41)."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioning.layout import CODE
from tests.support.broker import PATIENCE, free_port, listens, until

SHIPPED = CODE / "systemd/lykta-sshd.conf"
SSHD = "/usr/sbin/sshd"
if not Path(SSHD).exists():
    pytest.skip("needs openssh-server", allow_module_level=True)


class Server:
    """sshd on 127.0.0.1 as this user; root may come in, so that the tests run as root too: all else is as shipped."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.user = folder, pwd.getpwuid(os.getuid()).pw_name
        self.port = free_port()
        for name in ("host", "key", "other"):
            subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "key.pub", folder / "authorized")
        root = "PermitRootLogin prohibit-password\n" if self.user == "root" else ""
        own = f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        (folder / "sshd_config").write_text(f"{root}{own}AuthorizedKeysFile {folder}/authorized\nInclude {SHIPPED}\n")

    def run(self, key: str, *words: str, command: str = "echo in") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words(key, *words), command], capture_output=True, text=True, timeout=PATIENCE * 20, check=False
        )

    def words(self, key: str, *words: str) -> list[str]:
        quiet = ["-F", "none", "-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
        mine = ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", str(self.folder / key)]
        return ["ssh", *quiet, *mine, "-p", str(self.port), *words, f"{self.user}@127.0.0.1"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    made = Server(tmp_path_factory.mktemp("sshd"))
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", made.folder / "sshd_config"], stderr=subprocess.DEVNULL)
    until(lambda: listens(made.port), "sshd listens")
    yield made
    process.terminate()
    process.wait()


def test_what_is_in_force_is_what_ships(server: Server) -> None:
    done = subprocess.run([SSHD, "-T", "-f", server.folder / "sshd_config"], capture_output=True, text=True, check=True)
    shipped = [line for line in SHIPPED.read_text().lower().splitlines() if line and not line.startswith(("#", "permitrootlogin"))]
    assert len(shipped) > 4
    assert [line for line in shipped if line not in done.stdout.lower()] == []


def test_a_key_gets_in(server: Server) -> None:
    assert server.run("key").stdout == "in\n"


def test_another_key_does_not(server: Server) -> None:
    done = server.run("other")
    assert (done.returncode, done.stdout) == (255, "")


def test_a_password_is_not_even_asked_for(server: Server) -> None:
    done = server.run("other", "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive")
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr


def through(server: Server, target: str) -> bytes:
    """What comes back on a local port that ssh -L carries to `target`."""
    port = free_port()
    process = subprocess.Popen(server.words("key", "-NL", f"127.0.0.1:{port}:{target}"), stderr=subprocess.DEVNULL)
    try:
        until(lambda: listens(port), "ssh listens")
        with socket.create_connection(("127.0.0.1", port), PATIENCE * 10) as line:
            return line.recv(100)
    finally:
        process.terminate()
        process.wait()


def serve(listener: socket.socket) -> threading.Thread:
    def answer() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line:
                line.sendall(b"page")

    listener.listen()
    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_the_page_is_reached_by_its_socket(server: Server) -> None:
    """This needs AllowTcpForwarding local: with "no" sshd refuses sockets as well."""
    with socket.socket(socket.AF_UNIX) as page:
        page.bind(str(server.folder / "page.sock"))
        serve(page)
        assert through(server, str(server.folder / "page.sock")) == b"page"


def test_no_port_of_the_node_is_opened_for_others(server: Server) -> None:
    done = server.run("key", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9")
    assert (done.returncode, done.stdout) == (255, "")
