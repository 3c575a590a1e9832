"""`lykta-central` as operators use it: commands in; files, messages and exit codes out."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.envelope import Envelope
from agent.messages import Message, State, encode
from agent.runtime import config
from central.keys.broker import ROLES
from central.keys.keygen import authority, keygen, signer
from privacy.errors import EnrolmentError, RecordError
from privacy.records.command import verify_command
from privacy.records.jws import key_set, sign
from provisioning.identity import (
    UNITS,
    basis_keys,
    command_keys,
    load_authority,
    load_permit,
    load_signer,
    recipients,
    tls_files,
)
from provisioning.layout import Layout
from tests.support.broker import Broker, Centre, free_port, until
from tests.support.clips import Node, bundle, central, flip, made, noise, receipt, refused
from tests.support.clips import example as filled

MADE = {
    *("ca.key", "ca.pem", "basis.key", "command.key", "receipt.key", "receipt.pem", "ingest.key", "ingest.pem"),
    *(
        "broker.key",
        "broker.pem",
        *(f"{role}.{end}" for role in ROLES for end in ("key", "pem")),
        "identity.txt",
        "recipients.txt",
        "basis.pub",
        "command.pub",
    ),
    *("access.key", "access.pem", "crl.pem", "issued.jsonl", "roles.jws"),
}
FOLDERS = {"access", "officers"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("centre") / "keys"
    said = json.loads(made("keygen", folder, "--host", "ingest.example.org", "--host", "192.0.2.7", "--json"))
    assert said == {"schema": "lykta-central.keygen/1", "folder": str(folder), "files": sorted(MADE | FOLDERS)}
    return folder


def example(name: str, node: str = "city/stop-1") -> dict[str, Any]:
    return dict(json.loads(filled(name, node)))


def signed(keys: Path, name: str, record: dict[str, Any], target: Path) -> None:
    source = target.with_suffix(".json")
    source.write_text(json.dumps(record))
    made("sign", name, source, "--keys", keys, "-o", target, "--yes")


def permit(layout: Layout) -> None:
    load_permit(layout, "city", "stop-1", "standard", "yolox-nano+yunet")


@pytest.fixture(scope="module")
def template(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node whose records are in order."""
    layout = bundle(keys, "city/stop-1", tmp_path_factory.mktemp("template"))
    signed(keys, "basis", example("basis"), layout.basis)
    signed(keys, "view", example("view"), layout.view)
    permit(layout)
    return layout.root


@pytest.fixture
def placed(template: Path, tmp_path: Path) -> Layout:
    """A copy of it, for a test to spoil."""
    return Layout(shutil.copytree(template, tmp_path / "placed"))


def openssl(*words: str | Path) -> str:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- keygen -----------------------------------------------------------------------------------------------------------


def test_private_keys_are_for_the_owner_alone(keys: Path) -> None:
    for name in (*MADE, "officers/officer-1.key", "officers/officer-1.pem"):
        mode = stat.S_IMODE((keys / name).stat().st_mode)
        assert mode == (0o600 if name.endswith(".key") or name == "identity.txt" else 0o644), name


def test_stock_openssl_trusts_what_keygen_made(keys: Path) -> None:
    ca = keys / "ca.pem"
    for name, purpose in {"ingest": "sslserver", "broker": "sslserver", "ops": "sslclient", "receipt": "any"}.items():
        openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, keys / f"{name}.pem")
    for name in ("ingest", "broker"):
        names = openssl("x509", "-in", keys / f"{name}.pem", "-noout", "-ext", "subjectAltName")
        for host in ("DNS:localhost", "IP Address:127.0.0.1", "DNS:ingest.example.org", "IP Address:192.0.2.7"):
            assert host in names
    openssl("x509", "-in", ca, "-noout", "-checkend", str(9 * 365 * 86400))


def test_stock_age_knows_the_recipient(keys: Path) -> None:
    done = subprocess.run(["age-keygen", "-y", keys / "identity.txt"], capture_output=True, text=True, check=True)
    assert done.stdout == (keys / "recipients.txt").read_text()


@pytest.mark.parametrize("left", ["ca.key", "basis.key"])
def test_keys_are_never_overwritten(tmp_path: Path, left: str) -> None:
    """A second keygen, also after one that broke off, would make every sealed clip and every node worthless."""
    (tmp_path / left).write_text("precious")
    refused(2, "holds keys already", "keygen", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [left]
    assert (tmp_path / left).read_text() == "precious"


def test_a_first_officer_without_a_name_leaves_no_half_a_centre(tmp_path: Path) -> None:
    refused(2, "officer: must be lower case", "keygen", tmp_path / "new", "--officer", "Eva Ek")
    assert not (tmp_path / "new").exists()


# -- bundle -----------------------------------------------------------------------------------------------------------


def test_a_bundle_is_a_whole_node(keys: Path, node: Node) -> None:
    """Every unit has its own key of its own role; the uplink's TLS key is none of them."""
    layout = node.layout
    settings = config.load(layout.config)
    assert (settings.node.site, settings.node.id, settings.node.area) == ("city", "stop-1", "Skäggetorp")
    assert (settings.broker.port, settings.ingest.port) == (8883, 8443)
    signers = [load_signer(layout, unit) for unit in UNITS]
    assert len({one.kid for one in signers}) == len(UNITS)
    for unit in (*UNITS, "tls"):
        subject = openssl("x509", "-in", layout.credentials / f"{unit}.pem", "-noout", "-subject", "-nameopt", "RFC2253")
        assert subject == f"subject=CN=city/stop-1,OU={unit}\n"
        assert stat.S_IMODE((layout.credentials / f"{unit}.key").stat().st_mode) == 0o600
    assert tls_files(layout).key == layout.credentials / "tls.key"
    assert load_authority(layout).cas == authority(keys).cas
    assert list(basis_keys(layout).keys) == [signer(keys, "basis").kid]
    assert list(command_keys(layout).keys) == [signer(keys, "command").kid]
    assert recipients(layout) == ((keys / "recipients.txt").read_text().strip(),)


def test_a_bundle_never_holds_a_key_of_the_centre(keys: Path, node: Node) -> None:
    """Promise 2, R30: a stolen card opens no clip and signs no basis."""
    secrets = {(keys / name).read_bytes() for name in MADE if name.endswith(".key") or name == "identity.txt"}
    for path in node.layout.etc.rglob("*"):
        assert not path.is_file() or path.read_bytes() not in secrets
        assert not path.is_file() or b"AGE-SECRET-KEY" not in path.read_bytes()


def test_a_nodes_keys_are_never_overwritten(keys: Path, node: Node) -> None:
    before = (node.layout.credentials / "tls.key").read_bytes()
    words = ["--area", "City", "--broker", "b:1", "--ingest", "i:1"]
    refused(2, "holds a node's keys already", "bundle", keys, node.name, "--root", node.layout.root, *words)
    assert (node.layout.credentials / "tls.key").read_bytes() == before


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"node": "city"}, "must be SITE/NODE"),
        ({"node": "city/../stop-1"}, "must be SITE/NODE"),
        ({"node": "City/stop-1"}, "must be SITE/NODE"),
        ({"node": "city/stop-1\n"}, "must be SITE/NODE"),
        ({"node": f"{'a' * 60}/stop-1"}, "64 at most"),
        ({"broker": "8883"}, "must be HOST:PORT (got '8883')"),
        ({"ingest": "centre:0"}, "must be HOST:PORT"),
        ({"ingest": "centre:65536"}, "must be HOST:PORT"),
        ({"area": ""}, "1 to 63 characters"),
    ],
)
def test_a_bundle_for_nobody_is_refused(keys: Path, tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    asked = {"node": "city/stop-1", "area": "City", "broker": "b:8883", "ingest": "i:8443"} | wrong
    options = [f"--{name}={value}" for name, value in asked.items() if name != "node"]
    refused(2, said, "bundle", keys, asked["node"], "--root", tmp_path / "root", *options)
    assert not (tmp_path / "root").exists()


def test_without_the_centres_keys_there_is_no_bundle(tmp_path: Path) -> None:
    words = ["--area", "City", "--broker", "b:1", "--ingest", "i:1"]
    refused(7, "ca.key", "bundle", tmp_path / "none", "city/stop-1", "--root", tmp_path / "root", *words)


# -- the node's identity ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["credentials/camera.key", "credentials/camera.pem"])
def test_an_unenrolled_node_says_so(placed: Layout, missing: str) -> None:
    """R41"""
    (placed.etc / missing).unlink()
    with pytest.raises(EnrolmentError, match="not enrolled") as caught:
        load_signer(placed, "camera")
    assert caught.value.exit_code == 7


def test_a_key_without_its_certificate_is_refused(placed: Layout) -> None:
    (placed.credentials / "camera.key").write_bytes((placed.credentials / "io.key").read_bytes())
    with pytest.raises(RecordError, match="is not the certificate of"):
        load_signer(placed, "camera")


def test_sealing_to_nobody_is_refused(placed: Layout) -> None:
    (placed.trust / "recipients.txt").write_text("# nobody\n\n")
    with pytest.raises(RecordError, match="is not signed by the centre"):
        recipients(placed)


def test_identity_is_light() -> None:
    """io and uplink load it and have 60 MB."""
    code = "import sys, provisioning.identity; sys.exit(bool({'numpy', 'cv2', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- sign -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basis", "view"])
def test_without_both_records_there_is_no_permit(placed: Layout, name: str) -> None:
    """R01"""
    (placed.etc / f"{name}.jws").unlink()
    with pytest.raises(RecordError, match=rf"{name}\.jws: is missing"):
        permit(placed)


@pytest.mark.parametrize("name", ["basis", "view"])
def test_a_changed_record_is_no_permit(placed: Layout, name: str) -> None:
    """R01"""
    path = placed.etc / f"{name}.jws"
    header, payload, signature = path.read_bytes().split(b".")
    path.write_bytes(b".".join((header, payload[:-3] + b"AAA", signature)))
    with pytest.raises(RecordError, match="bad signature"):
        permit(placed)


def test_another_municipalitys_record_is_no_permit(placed: Layout, tmp_path: Path) -> None:
    """R01"""
    keygen(tmp_path / "other", ["localhost"])
    signed(tmp_path / "other", "basis", example("basis"), placed.basis)
    with pytest.raises(RecordError, match="not trusted here"):
        permit(placed)


def test_a_view_is_no_basis(placed: Layout) -> None:
    """R01: though the same key signed both."""
    placed.basis.write_bytes(placed.view.read_bytes())
    with pytest.raises(RecordError, match="this is a 'lykta-view'"):
        permit(placed)


def test_only_who_the_basis_names_signs_a_view(placed: Layout, keys: Path) -> None:
    """R01: the basis key itself, until the basis names others; then none but them."""
    signed(keys, "basis", example("basis") | {"view_keys": ["an-installers-key"]}, placed.basis)
    with pytest.raises(RecordError, match="not trusted here"):
        permit(placed)
    signed(keys, "basis", example("basis") | {"view_keys": [signer(keys, "basis").kid]}, placed.basis)
    permit(placed)


def test_trust_that_the_ca_did_not_sign_is_none(placed: Layout, tmp_path: Path) -> None:
    """R01: whoever can write the trust folder still cannot name his own basis key."""
    keygen(tmp_path / "other", ["localhost"])
    mine = key_set([signer(tmp_path / "other", "basis").key.public_key()])
    (placed.trust / "basis-keys.jws").write_bytes(sign(mine, signer(tmp_path / "other", "ca"), "lykta-basis-keys"))
    with pytest.raises(RecordError, match="not signed by this"):
        permit(placed)


AREA = {"kind": "path", "paragraph": "KBL11.5b", "workplace": False, "polygon": [[0, 0], [1, 0], [1, 1]]}


def test_a_path_on_the_stops_paragraph_is_no_permit(placed: Layout, keys: Path) -> None:
    """R03"""
    signed(keys, "view", example("view") | {"areas": [AREA]}, placed.view)
    with pytest.raises(RecordError, match="does not permit a path"):
        permit(placed)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        pytest.param("basis", {"type": "tillstand"}, "basis: type: invalid enum value 'tillstand'", id="R03 a permit"),
        pytest.param("basis", {"end": "2030-01-01T00:00:00"}, "basis: end: expected `datetime`", id="R07 no zone"),
        pytest.param("basis", {"hours": [{"days": [8], "begin": "01:00", "end": "02:00"}]}, "hours[0].days", id="R07 day 8"),
        pytest.param("basis", {"cameras": 2}, "unknown field `cameras`", id="a field nobody assessed"),
        pytest.param("view", {"areas": [{k: v for k, v in AREA.items() if k != "workplace"}]}, "`workplace`", id="R12"),
        pytest.param("view", {"areas": []}, "view: areas: expected `array` of length >= 1", id="R02 no area"),
    ],
)
def test_what_is_no_record_is_not_signed(keys: Path, tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    """Refused at the desk, with field and rule, and not first at the stop."""
    source, target = tmp_path / "record.json", tmp_path / "record.jws"
    source.write_text(json.dumps(example(name) | change))
    refused(5, said, "sign", name, source, "--keys", keys, "-o", target)
    assert not target.exists()


def test_sign_says_what_is_missing(keys: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.jws"
    refused(5, "No such file", "sign", "basis", tmp_path / "none.json", "--keys", keys, "-o", target)
    (tmp_path / "torn.json").write_text('{"id": ')
    refused(5, "is not JSON", "sign", "basis", tmp_path / "torn.json", "--keys", keys, "-o", target)
    refused(2, "must be basis, view, config or order (got 'x')", "sign", "x", tmp_path / "torn.json", "--keys", keys, "-o", target)
    refused(2, "--keys and -o are needed", "sign", "basis")
    refused(2, "must be SITE/NODE", "sign", "basis", "--example", "city")
    assert not target.exists()


# -- send -------------------------------------------------------------------------------------------------------------


def test_a_command_reaches_the_node_signed(tmp_path: Path) -> None:
    """Over a real broker: on the node's topic, not retained, for the boot in which the node was last heard."""
    centre = Centre(tmp_path / "keys")
    layout = bundle(centre.folder, "city/stop-1", tmp_path / "node")
    broker = Broker(tmp_path / "broker", centre)
    broker.start()
    ago = datetime.now(UTC) - timedelta(hours=1)
    heard_last = Envelope(1, "m1", "e1", 7, ago, 5_000, "boot-1", "synced", False)
    state = Message(heard_last, State("ready", "listening", ago, None, "nobody", {}))
    try:
        broker.publish("lykta/v1/city/stop-1/state", encode(state).decode(), retain=True)
        with broker.ear("lykta/v1/+/+/cmd/#") as heard:
            words = ["send", centre.folder, "city/stop-1", "ack", "--broker", f"127.0.0.1:{broker.port}"]
            done = central(*words, "--arg", "press=p=1", "--wait", "1", "--json")
            assert done.returncode == 4, done.stderr
            said = json.loads(done.stdout)
            until(heard, "the command is heard")
            message = heard()[0]
        with broker.ear("lykta/v1/+/+/cmd/#") as later:
            until(lambda: broker.publish("lykta/v1/city/stop-1/cmd/last", "x") and later(), "the ear hears")
            assert {one.tail for one in later()} == {"cmd/last"}  # the command was not retained
    finally:
        broker.stop()
    assert (said["schema"], said["topic"]) == ("lykta-central.send/1", "lykta/v1/city/stop-1/cmd/ack")
    assert said["result"] == "none"
    assert (message.topic, message.retain) == ("lykta/v1/city/stop-1/cmd/ack", False)
    command = verify_command(message.payload.encode(), command_keys(layout), "city", "stop-1")
    assert (command.name, command.args, command.id) == ("ack", {"press": "p=1"}, said["id"])
    assert command.boot_id == "boot-1"
    assert 3_600_000 < command.end_ms - 5_000 < 3_600_000 + 1_200_000  # an hour on, in the node's own time
    with pytest.raises(RecordError):
        verify_command(message.payload.encode(), command_keys(layout), "city", "stop-2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["city", "ack"], "must be SITE/NODE"),
        (["city/stop-1", "ack/#"], "command: 'ack/#' is unknown"),
        (["city/stop-1", "reboot"], "command: 'reboot' is unknown"),
        (["city/stop-1", "ack", "--arg", "press"], "arg: must be KEY=VALUE (got 'press')"),
        (["city/stop-1", "pause"], "missing required field `minutes`"),
        (["city/stop-1", "pause", "--arg", "minutes=481"], "<= 480"),
        (["city/stop-1", "light", "--arg", "state=on", "--arg", "note=x"], "unknown field `note`"),
        (["city/stop-1", "restart", "--arg", "service=all"], "'all' - at `$.service`"),
        (["city/stop-77", "ping"], "city/stop-77 was never enrolled in"),
    ],
)
def test_what_is_no_command_is_not_sent(keys: Path, words: list[str], said: str) -> None:
    refused(2, said, "send", keys, *words, "--broker", "127.0.0.1:1")


def test_a_broker_that_is_away_is_exit_4(keys: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(keys, tmp_path / "keys"))
    bundle(mine, "city/stop-1", tmp_path / "node")
    refused(4, "broker 127.0.0.1", "send", mine, "city/stop-1", "ack", "--broker", f"127.0.0.1:{free_port()}")


# -- open and verify --------------------------------------------------------------------------------------------------


def test_open_gives_the_video_and_nothing_else(keys: Path, node: Node, tmp_path: Path) -> None:
    video, target = noise(200_000), tmp_path / "out.mp4"
    folder = node.clip(video)
    for named in (folder, folder / "clip.age"):
        said = json.loads(made("open", named, "--keys", keys, "-o", target, "--json"))
        assert said == {"schema": "lykta-central.open/1", "clip": folder.name, "output": str(target)}
        assert target.read_bytes() == video
        target.unlink()
    assert not list(tmp_path.iterdir())


def test_stock_age_opens_the_same(keys: Path, node: Node) -> None:
    """R30's other half: any centre with the identity and stock tools gets at its clips."""
    folder = node.clip(b"the same bytes")
    done = subprocess.run(["age", "-d", "-i", keys / "identity.txt", folder / "clip.age"], capture_output=True, check=True)
    assert done.stdout == b"the same bytes"


@pytest.mark.parametrize("name", ["clip.age", "masks.age"])
@pytest.mark.parametrize("damage", ["changed", "shorter", "gone"])
def test_a_damaged_clip_is_not_opened(keys: Path, node: Node, tmp_path: Path, name: str, damage: str) -> None:
    folder = node.clip(noise(100_000))
    if damage == "changed":
        flip(folder / name, -20)
    elif damage == "shorter":
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    else:
        (folder / name).unlink()
    refused(1, name, "open", folder, "--keys", keys, "-o", tmp_path / "out.mp4")
    refused(1, name, "verify", folder, "--keys", keys)
    assert not list(tmp_path.iterdir())


def test_a_clip_sealed_to_others_is_not_opened(keys: Path, node: Node, tmp_path: Path) -> None:
    """And leaves nothing behind: neither half a video nor a temporary file."""
    folder = node.clip(noise(100_000))
    other = tmp_path / "other"
    shutil.copytree(keys, other)
    (other / "identity.txt").unlink()
    subprocess.run(["age-keygen", "-o", other / "identity.txt"], check=True, capture_output=True)
    refused(1, "cannot be opened", "open", folder, "--keys", other, "-o", tmp_path / "out.mp4")
    refused(1, "masks.age", "verify", folder, "--keys", other)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_another_centres_clip_is_refused(keys: Path, node: Node, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keygen(other, ["localhost"])
    refused(5, "not of this centre", "open", node.clip(), "--keys", other, "-o", tmp_path / "out.mp4")


def test_a_clip_that_another_unit_signed_is_refused(keys: Path, node: Node, tmp_path: Path) -> None:
    folder = node.clip(spool=node.spool_of("uplink"))
    refused(5, "role 'uplink', not 'camera'", "open", folder, "--keys", keys, "-o", tmp_path / "out.mp4")


def test_a_clip_of_another_node_is_refused(keys: Path, node: Node) -> None:
    refused(5, "signed by city/stop-1 for city/stop-2", "verify", node.clip(node="stop-2"), "--keys", keys)


def test_a_receipt_must_be_this_clips(keys: Path, node: Node) -> None:
    folder = node.clip()
    receipt(keys, folder, record_sha256="0" * 64)
    refused(5, "receipt: is for another manifest", "verify", folder, "--keys", keys)
    receipt(keys, folder)
    token = (folder / "receipt.jws").read_bytes()
    (folder / "receipt.jws").write_bytes(token.rpartition(b".")[0] + b"." + b"A" * 86)
    refused(5, "bad signature", "verify", folder, "--keys", keys)


def test_open_names_what_is_not_there(keys: Path, node: Node, tmp_path: Path) -> None:
    folder = node.clip()
    refused(5, "manifest.jws", "open", tmp_path, "--keys", keys, "-o", tmp_path / "out.mp4")
    refused(7, "ca.pem", "open", folder, "--keys", tmp_path, "-o", tmp_path / "out.mp4")
    refused(2, "no such folder", "open", folder, "--keys", keys, "-o", tmp_path / "none/out.mp4")


# -- the command ------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_loads_little() -> None:
    said = made("--help")
    for name in ("keygen", "bundle", "officer", "revoke", "sign", "send", "ingest", "open", "export", "verify"):
        assert f" {name} " in said
    heavy = "{'starlette', 'uvicorn', 'pyrage', 'cryptography', 'joserfc', 'numpy', 'paho'}"
    code = f"import sys, central.commands.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_bundles_keys_are_owned_up_to() -> None:
    """R41 wants keys made on the node; until enrolment exists --help says that they are not."""
    assert "Until enrolment exists the keys are made here" in " ".join(made("bundle", "--help").split())
