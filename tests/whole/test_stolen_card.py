"""R30: a stolen card gives no picture and no clip. A used node's card, byte by byte, with what was deleted from it too."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyrage
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.demo.run import Demo
from central.keys.keygen import signer
from drivers.media.video import VideoFile
from privacy.masking.view_guard import ViewGuard
from privacy.records.jws import sha256_hex, sign
from privacy.records.manifest import RECEIPT, Receipt
from provisioning.layout import Layout
from tests.support.asking import ask
from tests.support.broker import PATIENCE
from tests.support.clips import film
from tests.support.home import Events, shots
from tests.support.nodes import VIDEO, Node, until

SIZE = 96 << 20
SMALL = (320, 180)
BLOCK = 4096


@dataclass(frozen=True)
class Card:
    """What a thief has: a raw image of the state (ext4, with its unallocated blocks) and the files below etc.

    node      whose it was; clips: folders of sealed clips, copied from it
    freed     ids of clips that were deleted on it
    raw       whether services wrote into the file system itself, so that it holds what was deleted
    """

    node: Node
    image: bytes
    files: dict[str, bytes]
    clips: list[Path]
    freed: list[str]
    raw: bool


def alone() -> list[str]:
    """Words before a command that may mount for itself; none where that is not allowed."""
    words = ["unshare", "--mount"]
    may = os.geteuid() == 0 and not subprocess.run([*words, "losetup", "-f"], capture_output=True, check=False).returncode
    return words if may else []


@pytest.fixture(scope="module")
def card(made: Demo, tmp_path_factory: pytest.TempPathFactory) -> Card:
    """Camera and help point for some clips: triggers, a look at the view, a receipt that frees one, a clean end."""
    folder = tmp_path_factory.mktemp("card")
    node = Node.copy(made, folder)
    node.settings(record__post_roll="1", record__pre_roll="1")
    (node.layout.camera).mkdir(parents=True, exist_ok=True)
    (node.layout.camera / "view-0123456789abcdef.edges").write_bytes(edges())
    image = folder / "card.raw"
    before = alone()
    _make_image(image, node.layout.var)
    mount = f'mount -o loop "{image}" "{node.layout.var}" && ' if before else ""
    lines = " & ".join(" ".join(f'"{word}"' for word in node.words(name)) for name in ("camera", "io"))
    with (node.root / "log").open("wb") as log:
        service = subprocess.Popen([*before, "sh", "-c", f"{mount}{{ {lines} & wait; }}"], stdout=log, stderr=log)
    try:
        clips, freed = _use(node, folder)
    finally:
        for name in ("camera", "io"):
            if pid := node.status(name).get("pid"):
                os.kill(pid, 15)
        assert service.wait(PATIENCE * 20) == 0, node.log()
    if not before:
        _make_image(image, node.layout.var)
    etc = {str(path): path.read_bytes() for path in node.layout.etc.rglob("*") if path.is_file()}
    return Card(node, image.read_bytes(), etc, clips, freed, bool(before))


def _make_image(image: Path, source: Path) -> None:
    with image.open("wb") as file:
        file.truncate(SIZE)
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", str(source), str(image)]
    subprocess.run(words, check=True)


def _use(node: Node, folder: Path) -> tuple[list[Path], list[str]]:
    until(lambda: node.state("camera")[0] == "ready" and node.state("io")[0] == "ready", "ready")
    # Where a mount of their own hides the state from us, the services' root shows it.
    inside = Layout(Path(f"/proc/{node.status('camera')['pid']}/root{node.root}"))
    for number in range(3):
        before = node.status("camera")["detail"].get("frames", 0)
        until(lambda before=before: node.status("camera")["detail"].get("frames", 0) > before + 15, "pictures in the ring")
        if number == 1:
            ask(node.layout.socket("io", "ctl"), {"verb": "press", "name": "help"})
        else:
            node.trigger(f"press-{number}")
        until(lambda: len(sealed(inside)) > number, "a clip is sealed")  # noqa: B023 - asked within this turn only
    until(lambda: node.run("view", "show", str(folder / "view.jpg")).returncode == 0, "a reference picture")
    assert node.run("clips", "list").returncode == 0
    first, *rest = sealed(inside)
    token = (inside.spool / first / "manifest.jws").read_bytes()
    assert ask(node.layout.socket("camera", "uplink"), {"verb": "receipt", "jws": _receipt(node, token)}) == {"freed": True}
    assert not (inside.spool / first).exists()
    return [_copy(inside.spool / clip, folder / clip) for clip in rest], [first]


def sealed(layout: Layout) -> list[str]:
    """Ids of the complete clips, oldest first."""
    return sorted(path.parent.name for path in layout.spool.glob("*/manifest.jws"))


def _receipt(node: Node, token: bytes) -> str:
    from privacy.records.manifest import read_manifest
    from provisioning.identity import load_authority

    manifest, _ = read_manifest(token, load_authority(node.layout))
    receipt = Receipt(manifest.clip, "clip", manifest.site, manifest.node, sha256_hex(token), manifest.files, manifest.end)
    return sign(receipt, signer(node.centre, "receipt"), RECEIPT).decode()


def _copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def edges() -> bytes:
    """The view guard's memory of the drawn stop, as its service keeps it."""
    guard, picture = ViewGuard(), next(shots(Events(people=False), 1)).frame.planes[0]
    small = cv2.resize(picture, (160, 90), interpolation=cv2.INTER_AREA)
    for half_seconds in range(400):
        guard.look(small, (), SMALL, half_seconds * 500_000_000)
    assert guard.established
    return guard.to_bytes()


# -- what a thief looks for ------------------------------------------------------------------------------------------------

BOX = re.compile(rb"\x00[\x00-\xff]{3}(?:ftyp|moov|moof|mdat|avcC|avc1)")
PARAMETERS = re.compile(rb"\x00\x00\x01[\x67\x27][\x42\x4d\x58\x64\x6e\x7a\xf4][\x00-\xff][\x09-\x34]")
JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
PNG = re.compile(rb"\x89PNG\r\n\x1a\n")


def written(image: bytes) -> bytes:
    """The blocks of a raw image that are not all zero."""
    blocks = (image[at : at + BLOCK] for at in range(0, len(image), BLOCK))
    return b"".join(block for block in blocks if block.strip(b"\0"))


def pictures(data: bytes, known: np.ndarray) -> set[str]:
    """Kinds of pictures that stand in the clear somewhere in these bytes. known: pieces of raw frames, see `pieces`."""
    return set(_pictures(data, known))


def _pictures(data: bytes, known: np.ndarray) -> Iterator[str]:
    if BOX.search(data):
        yield "mp4"
    if PARAMETERS.search(data):
        yield "h264"
    if PNG.search(data):
        yield "png"
    for found in JPEG.finditer(data):
        if cv2.imdecode(np.frombuffer(data[found.start() : found.start() + (1 << 20)], np.uint8), cv2.IMREAD_COLOR) is not None:
            yield "jpeg"
    for shift in range(8):
        words = np.frombuffer(data[shift : shift + (len(data) - shift) // 8 * 8], np.uint64)
        if np.isin(words, known).any():
            yield "raw"


def pieces(frames: list[np.ndarray]) -> np.ndarray:
    """Eight neighbouring pixels of lively places of these I420 frames, as numbers."""
    found = []
    for frame in frames:
        words = np.ascontiguousarray(frame).reshape(-1)[: frame.size // 8 * 8].reshape(-1, 8)
        lively = (np.diff(np.sort(words, axis=1), axis=1) > 0).sum(axis=1) >= 6
        found.append(words[lively][::40].copy().view(np.uint64).ravel())
    return np.unique(np.concatenate(found))


@pytest.fixture(scope="module")
def frames(card: Card) -> list[np.ndarray]:
    """What the camera filmed, as raw I420 before any mask."""
    camera = VideoFile(VIDEO, fps=10, size=SMALL)
    camera.open()
    got = [np.concatenate([plane.ravel() for plane in camera.capture().planes]) for _ in range(150)]
    camera.close()
    return got


def everything(card: Card) -> bytes:
    return written(card.image) + b"".join(card.files.values())


def test_nothing_on_the_card_is_a_picture(card: Card, frames: list[np.ndarray]) -> None:
    """R30, R17: no image file, no video, no raw frame, in no file, database or unallocated block."""
    assert pictures(everything(card), pieces(frames)) == set()


def test_the_same_search_finds_what_was_left_in_the_clear(card: Card, frames: list[np.ndarray], tmp_path: Path) -> None:
    """Or the test before this one could not fail."""
    clear, known = everything(card), pieces(frames)
    assert frames
    jpeg = cv2.imencode(".jpg", frames[40][: SMALL[0] * SMALL[1]].reshape(SMALL[::-1]))[1].tobytes()
    png = cv2.imencode(".png", frames[40][: SMALL[0] * SMALL[1]].reshape(SMALL[::-1]))[1].tobytes()
    opened = tmp_path / "clip.mp4"
    words = [str(Path(card.node.words()[0]).with_name("lykta-central")), "open", str(card.clips[0]), "--keys"]
    subprocess.run([*words, str(card.node.centre), "-o", str(opened)], check=True, capture_output=True)
    planted = {"jpeg": jpeg, "png": png, "raw": frames[40].tobytes(), "mp4": opened.read_bytes(), "film": film(10)}
    for kind, data in planted.items():
        at = len(clear) // 3 // BLOCK * BLOCK + 7
        assert pictures(clear[:at] + data + clear[at:], known) >= {"mp4" if kind == "film" else kind}
    elementary = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(opened), "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"],
        check=True,
        capture_output=True,
    ).stdout
    assert pictures(clear + elementary, known) == {"h264"}


def test_the_image_holds_what_was_deleted(card: Card) -> None:
    """So that the search above has looked at deleted blocks too."""
    if not card.raw:
        pytest.skip("needs root and loop devices: the image was made from the files that are left")
    assert card.freed[0].encode() in card.image
    assert card.image.count(b"age-encryption.org/v1") > 2 * len(card.clips), "the deleted clip's sealed bytes are still there"


# -- keys ------------------------------------------------------------------------------------------------------------------

PEM = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
AGE = re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}")


def identities(data: bytes) -> list[pyrage.x25519.Identity]:
    """Every secret in these bytes, tried as age identity: written as one, or the bytes of another private key."""
    raw = [one for pem in PEM.findall(data) if (one := _secret(pem))]
    texts = [found.decode() for found in AGE.findall(data)] + [bech32(one) for one in raw]
    return [pyrage.x25519.Identity.from_str(text) for text in texts]


def _secret(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes(32, "big")
    raw = serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
    return key.private_bytes(*raw)  # type: ignore[union-attr]


def bech32(secret: bytes) -> str:
    """A secret in age's text form (BIP 173)."""
    letters, prefix = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", "age-secret-key-"
    bits = "".join(f"{byte:08b}" for byte in secret)
    words = [int(bits[at : at + 5].ljust(5, "0"), 2) for at in range(0, len(bits), 5)]
    check, spread = 1, [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    for value in (*spread, *words, *[0] * 6):
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    tail = [(check ^ 1) >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(letters[word] for word in (*words, *tail))}".upper()


def opens(clip: Path, key: pyrage.x25519.Identity) -> bool:
    for name in ("clip.age", "masks.age"):
        try:
            pyrage.decrypt((clip / name).read_bytes(), [key])
        except pyrage.DecryptError:
            continue
        return True
    return False


def test_no_key_on_the_card_opens_a_clip(card: Card) -> None:
    """R30: the node's five private keys are there, and none of them, nor anything else there, is an age identity that fits."""
    found = identities(everything(card))
    assert len(found) >= 5
    assert len(card.clips) >= 2
    assert [clip.name for clip in card.clips for key in found if opens(clip, key)] == []


def test_the_centres_key_is_found_and_opens_if_it_lies_about(card: Card) -> None:
    """Or the test before this one could not fail."""
    leaked = everything(card) + (card.node.centre / "identity.txt").read_bytes()
    assert all(any(opens(clip, key) for key in identities(leaked)) for clip in card.clips)


def test_secrets_are_written_as_age_writes_them() -> None:
    """The form in which raw keys are tried, against one that pyrage made."""
    key = pyrage.x25519.Identity.generate()
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    words = "".join(f"{letters.index(c):05b}" for c in str(key).lower().rpartition("1")[2][:-6])
    secret = int(words[:256], 2).to_bytes(32, "big")
    assert bech32(secret) == str(key)


# -- the rest of what lies there -------------------------------------------------------------------------------------------


def test_the_views_edges_hold_no_brightness(card: Card) -> None:
    """R30, R06: where edges last and in which of eight directions they run, in nine values; no level of any pixel."""
    kept = edges()
    assert kept in card.image
    pixels = zlib.decompress(kept[4:])
    assert len(pixels) == kept[0] * kept[1]
    assert set(pixels) <= set(range(9))


def test_a_copy_of_the_files_tells_no_more(card: Card, frames: list[np.ndarray]) -> None:
    """The same search over a tar of what lies below etc and of the clips: what a technician's backup holds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(card.node.layout.etc, "etc")
        for clip in card.clips:
            tar.add(clip, clip.name)
    assert pictures(buffer.getvalue(), pieces(frames)) == set()
    assert json.loads((card.node.centre / "basis.json").read_text())["node"].encode() in buffer.getvalue()
