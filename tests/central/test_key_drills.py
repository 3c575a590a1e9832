"""docs/KEY-DRILLS.md: its own commands, run as they stand; what should survive does, and what should be lost is (R30, R32)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from central.keys.keygen import signer
from privacy.errors import RecordError
from privacy.records.command import verify_command
from privacy.records.jws import load_chain
from privacy.records.manifest import read_receipt
from provisioning.identity import basis_keys, command_keys, load_authority, load_permit, load_signer, recipients
from provisioning.layout import CODE, Layout
from tests.support.clips import TOOL, Node, central, example, film, made, receipt, refused
from tests.support.commanding import ordered

PAGE = (CODE / "docs/KEY-DRILLS.md").read_text()
FILM = film()


class Placed(Node):
    """A node whose bundle is in place already."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.layout = name, Layout(root)
        self.spool = self.spool_of("camera")


class Desk:
    """A centre with one node, an old clip with its receipt, and the drills of the page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self.node = folder, folder / "keys", Placed("city/stop-1", folder / "node")
        self.clip = self.node.spool.folder / self.node.spool.clips()[0]

    @staticmethod
    def make(folder: Path) -> None:
        """What every drill begins with, once."""
        made("keygen", folder / "keys")
        node = Node(folder / "keys", "city/stop-1", folder / "node")
        for name in ("custodian", "records", "out"):
            (folder / name).mkdir()
        for name in ("basis", "view"):
            (folder / f"records/{name}.json").write_text(example(name))
            words = [folder / f"records/{name}.json", "--keys", folder / "keys", "-o", node.layout.etc / f"{name}.jws", "--yes"]
            made("sign", name, *words)
        receipt(folder / "keys", node.clip(FILM))

    def sealed(self) -> Path:
        """A clip as the node makes it now: with its present keys, to its present recipients."""
        self.node.spool = self.node.spool_of("camera")
        return self.node.clip(FILM)

    def drill(self, key: str, which: str, block: int = 0) -> None:
        """Run one block of a drill, as it stands on the page."""
        section = PAGE.split(f"\n## {key}\n")[1].split("\n## ")[0]
        part = section.split(f"\n### {which}\n")[1].split("\n### ")[0]
        commands = re.findall(r"```bash\n(.*?)```", part, re.DOTALL)[block]
        places = {"KEYS": "keys", "ROOT": "node", "CUSTODIAN": "custodian", "RECORDS": "records", "OUT": "out", "NEW": "new"}
        variables = {name: str(self.folder / place) for name, place in places.items()}
        variables |= {"NODE": "city/stop-1", "CLIP": str(self.clip), "PATH": f"{TOOL.parent}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-e", "-u", "-c", commands], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def opens(self, clip: Path) -> bool:
        (self.folder / "opened.mp4").unlink(missing_ok=True)
        done = central("open", clip, "--keys", self.keys, "-o", self.folder / "opened.mp4")
        assert done.returncode == 0 or "cannot be opened" in done.stderr, done.stderr
        return done.returncode == 0 and (self.folder / "opened.mp4").read_bytes() == FILM

    def verifies(self, clip: Path) -> None:
        assert "receipt" in made("verify", clip, "--keys", self.keys) or clip != self.clip

    def permit(self) -> None:
        load_permit(self.node.layout, "city", "stop-1", "standard", "yolox-nano+yunet")


def age_opens(identity: Path, clip: Path) -> bool:
    done = subprocess.run(["age", "-d", "-i", identity, clip / "clip.age"], capture_output=True, check=False)
    return done.returncode == 0 and done.stdout == FILM


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    Desk.make(folder)
    return folder


@pytest.fixture
def desk(template: Path, tmp_path: Path) -> Desk:
    return Desk(Path(shutil.copytree(template, tmp_path / "desk")))


def test_every_drill_on_the_page_is_run_here() -> None:
    """A drill without a test would be a guess."""
    tested, drills = Path(__file__).read_text(), 0
    for section in PAGE.split("\n## ")[1:]:
        key = section.split("\n")[0]
        for part in section.split("\n### ")[1:]:
            name, blocks = part.split("\n")[0], part.count("```bash")
            for block in range(blocks):
                wanted = f'drill("{key}", "{name}"' + (f", {block})" if block else ")")
                assert wanted in tested, wanted
                drills += 1
    assert drills > 8, "the page is still read as it is written"


def test_a_new_identity_opens_the_new_and_the_old_one_the_old(desk: Desk) -> None:
    desk.drill("The clip identity", "Rotation or theft")
    after = desk.sealed()
    assert desk.opens(desk.clip)
    assert desk.opens(after)
    desk.verifies(desk.clip)
    old, new = desk.keys / "identity-1.txt", desk.keys / "identity.txt"
    assert (age_opens(old, desk.clip), age_opens(old, after)) == (True, False)
    assert (age_opens(new, desk.clip), age_opens(new, after)) == (False, True)
    refused(2, "an old identity opens old clips", "keygen", desk.keys, "--retire", "identity")


def test_with_two_custodians_the_loss_of_one_loses_nothing(desk: Desk) -> None:
    desk.drill("The clip identity", "A second custodian")
    desk.clip = desk.sealed()
    assert len(recipients(desk.node.layout)) == 2
    assert age_opens(desk.keys / "identity.txt", desk.clip)
    assert age_opens(desk.folder / "custodian/identity.txt", desk.clip)
    (desk.keys / "identity.txt").unlink()
    refused(7, "holds no identity", "open", desk.clip, "--keys", desk.keys, "-o", desk.folder / "x.mp4")
    desk.drill("The clip identity", "Loss, with a second custodian")
    assert (desk.folder / "out/opened.mp4").read_bytes() == FILM
    after = desk.sealed()
    assert desk.opens(after)
    assert age_opens(desk.folder / "custodian/identity.txt", after)


def test_a_lost_identity_without_a_custodian_loses_the_clips(desk: Desk) -> None:
    """And only the clips: what was signed about them still verifies up to there."""
    (desk.keys / "identity.txt").unlink()
    desk.drill("The clip identity", "Loss, without a custodian")
    assert not desk.opens(desk.clip)
    assert desk.opens(desk.sealed())


def test_a_custodian_that_is_none_is_refused(desk: Desk) -> None:
    """A typing error must not seal to nobody, nor be carried to the nodes."""
    before = (desk.keys / "recipients.txt").read_text()
    typo = before.strip()[:-1] + ("p" if before.strip().endswith("q") else "q")
    refused(5, "not an age recipient", "keygen", desk.keys, "--custodian", typo)
    refused(2, "is one already", "keygen", desk.keys, "--custodian", before.strip())
    assert (desk.keys / "recipients.txt").read_text() == before


@pytest.mark.parametrize("lost", [False, True])
def test_a_new_ca_takes_over(desk: Desk, lost: bool) -> None:
    """At each step the node has a permit, its clips open, and old evidence verifies; at the end the old CA's node is nobody."""
    old_tls = shutil.copy(desk.node.layout.credentials / "tls.pem", desk.folder / "old.pem")
    if lost:
        (desk.keys / "ca.key").unlink()
    desk.drill("The CA", "Rotation, loss or theft")
    between = desk.sealed()
    desk.permit()
    assert desk.opens(between)
    desk.drill("The CA", "Rotation, loss or theft", 1)
    after = desk.sealed()
    if lost:
        refused(7, "the key of Lykta CA is lost", "revoke", desk.keys, "city/stop-1")
    desk.drill("The CA", "Rotation, loss or theft", 2)
    desk.permit()
    last = desk.sealed()
    for clip in (desk.clip, between, after, last):
        assert desk.opens(clip)
        desk.verifies(clip)
    made("verify", desk.keys / "access", "--keys", desk.keys)
    ca = load_chain((desk.keys / "ca.pem").read_bytes())
    assert (len(ca), load_authority(desk.node.layout).cas) == (1, ca)
    names = ("receipt", "ops", "access", "ingest", "broker", "officers/officer-1")
    for path in (*(desk.keys / f"{name}.pem" for name in names), desk.node.layout.credentials / "tls.pem"):
        subprocess.run(["openssl", "verify", "-CAfile", desk.keys / "ca.pem", path], check=True, capture_output=True)
    assert subprocess.run(
        ["openssl", "verify", "-CAfile", desk.keys / "ca.pem", old_tls], capture_output=True, check=False
    ).returncode
    subprocess.run(["openssl", "verify", "-crl_check", "-CRLfile", desk.keys / "crl.pem", "-CAfile", desk.keys / "ca.pem",
                    desk.node.layout.credentials / "tls.pem"], check=True, capture_output=True)  # fmt: skip
    for host in ("localhost", "127.0.0.1"):
        found = subprocess.run(["openssl", "x509", "-in", desk.keys / "ingest.pem", "-noout", "-ext", "subjectAltName"],
                               capture_output=True, text=True, check=True).stdout  # fmt: skip
        assert host in found
    assert not list(desk.keys.glob("ca-*.key"))


def test_a_new_basis_key_takes_over(desk: Desk) -> None:
    """The node has a permit at each step; records that only the old key signed are none at the end."""
    old = desk.node.layout.basis.read_bytes()
    desk.drill("The basis key", "Rotation, loss or theft")
    desk.permit()
    assert len(basis_keys(desk.node.layout).keys) == 2
    desk.drill("The basis key", "Rotation, loss or theft", 1)
    desk.permit()
    assert list(basis_keys(desk.node.layout).keys) == [signer(desk.keys, "basis").kid]
    desk.node.layout.basis.write_bytes(old)
    with pytest.raises(RecordError, match="not trusted here"):
        desk.permit()


def test_a_new_command_key_takes_over(desk: Desk) -> None:
    """Also after a loss; a command of the old key is obeyed until that is retired, and an order of it is not sent any more."""
    old = ordered(desk.keys, "city/stop-1", "ack", {"press": "p1"})
    order = desk.folder / "order.json"
    order.write_text(example("order"))
    made("sign", "order", order, "--keys", desk.keys, "-o", desk.folder / "order.jws")
    (desk.keys / "command.key").unlink()
    desk.drill("The command key", "Rotation, loss or theft")
    for token in (old, ordered(desk.keys, "city/stop-1", "ack", {"press": "p1"})):
        verify_command(token, command_keys(desk.node.layout), "city", "stop-1")
    desk.drill("The command key", "Rotation, loss or theft", 1)
    verify_command(ordered(desk.keys, "city/stop-1", "ack", {"press": "p1"}), command_keys(desk.node.layout), "city", "stop-1")
    with pytest.raises(RecordError, match="not trusted here"):
        verify_command(old, command_keys(desk.node.layout), "city", "stop-1")
    words = ["--file", desk.folder / "order.jws", "--store", desk.folder]
    refused(5, "not trusted here", "send", desk.keys, "city/stop-1", "order", *words)
    made("sign", "order", order, "--keys", desk.keys, "-o", desk.folder / "again.jws")
    assert (desk.keys / "orders/city/stop-1/00000002.jws").exists()


def test_a_new_receipt_key_takes_over(desk: Desk) -> None:
    """The node takes receipts of both; the old private key is gone."""
    old = signer(desk.keys, "receipt").kid
    desk.drill("The receipt key", "Rotation or loss")
    after = desk.sealed()
    receipt(desk.keys, after)
    for clip in (desk.clip, after):
        assert read_receipt((clip / "receipt.jws").read_bytes(), load_authority(desk.node.layout)).id == clip.name
        desk.verifies(clip)
    assert signer(desk.keys, "receipt").kid != old
    assert not list(desk.keys.glob("receipt-*"))
    assert (desk.keys / "retired/receipt-1.pem").exists()


def test_a_server_gets_another_name(desk: Desk) -> None:
    """14.F23: with a new key; the old certificate is gone."""
    before = (desk.keys / "ingest.key").read_bytes()
    desk.drill("A server's key", "Another name, loss or theft")
    words = ["openssl", "x509", "-in", desk.keys / "ingest.pem", "-noout", "-ext", "subjectAltName"]
    assert "ingest.example.org" in subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert (desk.keys / "ingest.key").read_bytes() != before


def test_an_officer_whose_key_was_stolen_is_nobody(desk: Desk) -> None:
    made("officer", desk.keys, "eva-ek", "--may", "open", "--may", "export")
    desk.drill("An officer's key", "Loss or theft")
    words = ["open", desk.clip, "--keys", desk.keys, "-o", desk.folder / "x.mp4", "--as"]
    refused(6, "'eva-ek' may not open", *words, "eva-ek")
    made(*words, "eva-ek-2")


def test_a_stolen_node_is_on_the_list(desk: Desk) -> None:
    """R30; that a real broker then refuses it: tests/central/officers/test_revoking.py."""
    desk.drill("A stolen node", "Revoking its certificates")
    words = ["openssl", "verify", "-crl_check", "-CRLfile", desk.keys / "crl.pem", "-CAfile", desk.keys / "ca.pem"]
    done = subprocess.run([*words, desk.node.layout.credentials / "tls.pem"], capture_output=True, text=True, check=False)
    assert "certificate revoked" in done.stdout + done.stderr
    desk.verifies(desk.clip)


@pytest.mark.parametrize("words", [("--rotate", "officer"), ("--retire", "ops"), ("--rotate", "../ca")])
def test_only_the_keys_of_the_drills_are_replaced(desk: Desk, words: tuple[str, str]) -> None:
    refused(2, "must be identity, ca, basis, command or receipt", "keygen", desk.keys, *words)
    refused(2, "there is no earlier basis key", "keygen", desk.keys, "--retire", "basis")
    refused(2, "one of --rotate", "keygen", desk.keys, "--retire", "basis", "--rotate", "basis")
    assert load_signer(desk.node.layout, "camera")
