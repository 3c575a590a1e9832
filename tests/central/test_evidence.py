"""docs/EVIDENCE.md: its own commands, run with stock tools, hold for what is good and fail for what is not (R32, R33)."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from central.clips.export import unpack
from privacy.records.journal import ENTRY, Entry, Journal, segment, segments
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import Manifest
from provisioning.identity import load_signer
from provisioning.layout import CODE
from tests.support.broker import PATIENCE
from tests.support.clips import Node, film, flip, made, receipt
from tests.support.manifests import BEGIN
from tests.support.torn import tear

PAGE = (CODE / "docs/EVIDENCE.md").read_text()
FILM = film()


def blocks(section: str) -> str:
    """The commands of one section of the page, in order."""
    _, _, rest = PAGE.partition(f"\n## {section}\n")
    assert rest, section
    found = re.findall(r"```bash\n(.*?)```", rest.split("\n## ")[0], re.DOTALL)
    assert found
    return "\n".join(found)


def bash(commands: str, **variables: str | Path) -> subprocess.CompletedProcess[str]:
    """Every command counts: the first that fails ends it."""
    settings = {name: str(value) for name, value in variables.items()} | {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = ["bash", "-e", "-u", "-o", "pipefail", "-c", commands]
    return subprocess.run(done, capture_output=True, text=True, timeout=PATIENCE * 120, env=settings, check=False)


@pytest.fixture(scope="module")
def exported(keys: Path, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip as it is handed out."""
    folder, target = node.clip(FILM), tmp_path_factory.mktemp("exported") / "out"
    receipt(keys, folder)
    why = ["--ground", "crime", "--offence", "rån (BrB 8:5)", "--case", "K 1-26", "--decided", "Åke Öst", "--to", "Polisen"]
    made("export", folder, "--keys", keys, *why, "-o", target)
    return target


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def clip_of(export: Path) -> str:
    [folder] = export.glob("*/")
    return folder.name


def investigate(export: Path, skip: str = "") -> subprocess.CompletedProcess[str]:
    commands = blocks("A handed-out clip, for an investigator")
    assert skip in commands
    return bash(commands.replace(skip, "true") if skip else commands, EXPORT=export, CLIP=clip_of(export))


def test_the_page_opens_with_what_a_clip_cannot_show() -> None:
    assert PAGE.split("\n## ")[1].startswith("What a masked clip cannot show\n")


def test_an_investigator_can_check_a_clip_with_stock_tools(exported: Path) -> None:
    """R33: no program of ours, no identity."""
    done = investigate(exported)
    assert done.returncode == 0, done.stderr + done.stdout
    for said in (
        "video.mp4: OK",
        "sha256 Fingerprint=",
        "CN=officer-1,OU=officer",
        "CN=city/stop-1,OU=camera",
        "nb_read_frames=30",
        '"frames":30',
    ):
        assert said in done.stdout, said
    assert done.stdout.count("Verified OK") == 2
    assert done.stdout.count("codec_type=") == 1


@pytest.mark.parametrize("file", ["protocol.json", "CLIP/manifest.json", "CLIP/clip.age", "CLIP/video.mp4", "CLIP/manifest.sig"])
def test_an_investigator_finds_what_was_changed(copy: Path, file: str) -> None:
    """Also where SHA256SUMS was written anew."""
    flip(copy / file.replace("CLIP", clip_of(copy)), -30)
    assert investigate(copy).returncode != 0
    assert investigate(copy, skip="sha256sum -c SHA256SUMS").returncode != 0


def test_an_investigator_finds_a_foreign_camera(copy: Path, tmp_path: Path) -> None:
    made("keygen", tmp_path / "other")
    shutil.copy(tmp_path / "other/ca.pem", copy / "ca.pem")
    done = investigate(copy, skip="sha256sum -c SHA256SUMS")
    assert done.returncode != 0
    assert "protocol-chain.pem: verification failed" in done.stdout + done.stderr


def test_an_auditor_opens_with_age_what_was_handed_out(
    keys: Path,
    node: Node,
    exported: Path,
    tmp_path: Path,
) -> None:
    """The video is what the sealed file opens to; and a torn clip joins to what the centre opens."""
    torn, video = tear(node, FILM, cut=70_000, left=4_000)
    stored = node.spool.folder / clip_of(exported)
    commands = blocks("A stored clip, for an auditor at the centre")
    done = bash(commands, STORED=stored, TORN=torn, IDENTITY=keys / "identity.txt", OUT=tmp_path)
    assert done.returncode == 0, done.stderr
    [clear] = exported.glob("*/video.mp4")
    assert done.stdout.startswith(sha256_hex(clear.read_bytes()))
    assert '"schema":"lykta.masks/1"' in done.stdout
    made("open", torn, "--keys", keys, "-o", tmp_path / "ours.mp4")
    assert (tmp_path / "torn.mp4").read_bytes() == (tmp_path / "ours.mp4").read_bytes() == video


@pytest.fixture
def journal(node: Node, tmp_path: Path) -> Path:
    """Five entries in two segments, signed by the node's camera."""
    days = [BEGIN, BEGIN, BEGIN, BEGIN.replace(year=BEGIN.year + 1), BEGIN.replace(year=BEGIN.year + 1)]
    chain = Journal(tmp_path / "camera", "camera", load_signer(node.layout, "camera"), lambda: days.pop(0))
    for number in range(5):
        chain.append("heads" if number == 3 else "tick", number=number, previous="a fact may be called like this")
    (tmp_path / "camera/0000000000.parcel.jws").write_text("beside it in the store")
    return tmp_path / "camera"


def audit(keys: Path, journal: Path, out: Path, unit: str = "camera") -> subprocess.CompletedProcess[str]:
    return bash(blocks("A journal, for an auditor"), CA=keys / "ca.pem", JOURNAL=journal, UNIT=unit, OUT=out)


def test_an_auditor_can_check_a_journal_with_stock_tools(keys: Path, journal: Path, tmp_path: Path) -> None:
    """R32: and gets the same head as `lykta-central verify`."""
    done = audit(keys, journal, tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    [said] = re.findall(r"camera: 5 entries, head (\S+)", done.stdout)
    assert f"head {said}" in made("verify", journal, "--keys", keys)
    assert done.stdout.count('"kind":"tick"') == 4
    assert '"kind":"heads"' in done.stdout
    access = audit(keys, keys / "access", tmp_path, "access")
    assert access.returncode == 0, access.stderr
    assert '"kind":"keygen"' in access.stdout


def test_an_auditor_finds_what_was_done_to_a_journal(keys: Path, journal: Path, tmp_path: Path) -> None:
    first, second = segments(journal)
    whole = first.read_bytes()
    one, two, three = whole.splitlines(keepends=True)
    swapped = two.split(b".")[0] + b"." + one.split(b".")[1] + b"." + two.split(b".")[2]
    wrongs = ((one + three, 1, "follow"), (two + one + three, 0, "follow"), (one + swapped + three, 1, "signature"))
    for wrong, number, said in wrongs:
        first.write_bytes(wrong)
        done = audit(keys, journal, tmp_path)
        assert done.returncode != 0
        assert re.search(rf"entry {number}: .*{said}", done.stdout), done.stdout
    first.write_bytes(whole)
    assert "another unit's" in audit(keys, journal, tmp_path, "io").stdout
    made("keygen", tmp_path / "other")
    assert "entry 0: foreign certificate" in audit(tmp_path / "other", journal, tmp_path).stdout
    second.unlink()
    assert "camera: 3 entries" in audit(keys, journal, tmp_path).stdout  # as the page says: a cut at the end needs a head


def test_the_fields_that_the_page_names_exist() -> None:
    for name in ("time_error_ms", "clock", "state"):
        assert name in PAGE
        assert name in Manifest.__struct_fields__


@pytest.mark.parametrize("half", [slice(32), slice(32, 64)])
def test_numbers_with_a_leading_zero_are_written_as_openssl_wants_them(
    keys: Path,
    node: Node,
    tmp_path: Path,
    half: slice,
) -> None:
    """One signature in 128 has one; a shell that dropped or doubled it would call a good entry bad."""
    camera = load_signer(node.layout, "camera")
    while True:
        line = sign(Entry(0, "camera", BEGIN, "tick", {}, ""), camera, ENTRY)
        if base64.urlsafe_b64decode(line.rpartition(b".")[2] + b"==")[half][0] == 0:
            break
    (tmp_path / "camera").mkdir()
    segment(tmp_path / "camera", 0).write_bytes(line + b"\n")
    done = audit(keys, tmp_path / "camera", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "entry.sig").write_bytes(unpack(line)[2])
    (tmp_path / "entry.signed").write_bytes(unpack(line)[1])
    (tmp_path / "chain.pem").write_bytes(unpack(line)[3])
    check = "openssl dgst -sha256 -verify <(openssl x509 -in chain.pem -noout -pubkey) -signature entry.sig entry.signed"
    assert "Verified OK" in bash(f'cd "$OUT"; {check}', OUT=tmp_path).stdout
