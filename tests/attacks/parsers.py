"""Every parser of the node, with inputs that it takes and with what is done with its results: for the fuzz of test_parsers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from agent import messages
from agent.clips.index import IndexEntry, read_entries, rewrite
from agent.envelope import Envelope
from agent.messages import Message
from agent.root.link_rescue import RescueFacts, RescueState, decide
from agent.runtime.config import Config, build, load, parse
from agent.runtime.exit_report import ExitReport, reason
from agent.runtime.notices import Notice
from agent.runtime.refusal import Refusal
from agent.runtime.status import CameraStatus, ServiceState, StatusAnswer
from agent.uplink.upload.ingest_client import IngestAnswer
from agent.uplink.upload.policy import Reading, Spent, charge, settle, wait_s
from central.keys.keygen import authority, signer
from drivers.https import endpoint_of
from privacy import foreign
from privacy.errors import LyktaError
from privacy.masking.view_guard import ViewGuard
from privacy.records.basis import BASIS, VIEW, Basis, View, check_records, check_running, deadline, rule
from privacy.records.chains import read_heads, verify_chain, verify_segment
from privacy.records.command import COMMAND, Command, Situation, addressed_to, verify_command
from privacy.records.command import decide as decide_command
from privacy.records.journal import ENTRY, Entry, Head, Journal, head_of, newest, segments
from privacy.records.jws import (
    TrustedKeys,
    certificate_party,
    certificates_of,
    kind_of,
    load_chain,
    load_private_key,
    peek,
    sign,
    thumbprint,
    token_id,
    verify_key_set,
    verify_listed,
)
from privacy.records.manifest import (
    MANIFEST,
    PARCEL,
    RECEIPT,
    Manifest,
    Parcel,
    Receipt,
    SealedFile,
    read_manifest,
    read_parcel,
    read_receipt,
)
from privacy.records.order import ANSWER, ORDER, Answer, Order, read_answer, verify_order
from privacy.records.renewal import RENEWAL, Renewal, due_at, new_key, read_request, request, requested_key
from privacy.records.retention import Boot, Instant, Odometer, first_moment, read_odometer
from privacy.records.seal import Recipient, head_size, whole_size
from privacy.records.settings import CONFIG, Settings, merged
from provisioning.identity import COMMAND_KEYS, load_signer
from tests.support.clip_node import ClipNode
from tests.support.outboxes import HELP
from tests.support.records import BASIS as A_BASIS
from tests.support.records import VIEW as A_VIEW

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLIP = "01890000-0000-7000-8000-000000000001"
ZEROS = "0" * 64


@dataclass(frozen=True)
class Parser:
    """read: takes any bytes, and does with what comes of them what the product does. seeds: what it takes."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


NAMES = (
    "toml", "settings", "jws", "listed", "issued", "key set", "certificates", "private key", "renewal", "basis", "view", "order",
    "command", "configuration", "manifest", "parcel", "receipt", "answer", "entry", "segment", "journal", "head", "heads",
    "odometer", "edges", "sealed", "recipient", "cards", "message", "datagram", "status", "ingest", "url", "course", "spent",
    "last word", "refusal", "clip id", "any",
)  # fmt: skip


def parsers(clip_node: ClipNode) -> dict[str, Parser]:
    """By name, over the keys and the folder of that node."""
    found = _files(clip_node) | _records(clip_node) | _keys(clip_node) | _node(clip_node)
    assert tuple(sorted(found)) == tuple(sorted(NAMES))
    return found


def _files(clip_node: ClipNode) -> dict[str, Parser]:
    lines = _journal_lines(clip_node)
    root, sealed = clip_node.layout.root, b"age-encryption.org/v1\n-> X25519 a\nb\n--- c\n" + bytes(99)
    return {
        "toml": Parser(lambda data: _toml(root / "fuzz.toml", data), (clip_node.layout.config.read_bytes(), b'[a]\nb=[[1]]')),
        "settings": Parser(_overlay, (b'{"camera":{"fps":10},"light":{"hours":[{"days":[1],"begin":"18:00","end":"06:00"}]}}',)),
        "journal": Parser(lambda data: _journal(clip_node, data), (lines,)),
        "segment": Parser(lambda data: verify_segment(data, "io", authority(clip_node.keys), Head(0, "")), (lines,)),
        "odometer": Parser(_odometer, (b"{}", msgspec.json.encode(Odometer((Boot("a", 0), Boot("b", 9)), 10, NOON, 5)))),
        "edges": Parser(lambda data: ViewGuard(data).to_bytes(), (_edges(),)),
        "sealed": Parser(lambda data: whole_size(head_size(data), len(data)), (sealed,)),
        "cards": Parser(lambda data: _cards(root / "fuzz.index", data), (_card_lines(clip_node),)),
        "course": Parser(_course, (msgspec.json.encode(RescueState("b", 1, 2, 3, 4, 5, 6, ("hours",))),)),
        "spent": Parser(_spent, (msgspec.json.encode(Spent(1.5, 1e9, "b", 7)),)),
        "last word": Parser(_last_word, (msgspec.json.encode(ExitReport("exit-code", "5", True, 7, 3)),)),
        "refusal": Parser(_refusal, (msgspec.json.encode(Refusal("basis_missing", "lawyer", "b", 7)),)),
        "clip id": Parser(lambda data: f"{first_moment(data.decode(errors='replace')):%Y}", (CLIP.encode(), b"ffffffff-ffff")),
    }  # fmt: skip


def _records(clip_node: ClipNode) -> dict[str, Parser]:
    command, receipt, camera = (
        signer(clip_node.keys, "command"),
        signer(clip_node.keys, "receipt"),
        load_signer(clip_node.layout, "camera"),
    )
    ca, trusted = authority(clip_node.keys), TrustedKeys({command.kid: command.key.public_key()})
    file, now = SealedFile("clip.age", 1, ZEROS), datetime.now(UTC) + timedelta(minutes=1)
    held = Order(1, "hold", "city", "stop-1", "accident", "K", "A", "B", NOON, NOON + timedelta(days=1), (CLIP,))
    said = Answer(1, "hold", "city", "stop-1", "camera", ZEROS, "done", "", (CLIP,), now)
    parcel = Parcel(CLIP, "diag", "city", "stop-1", "camera", now, (file,), {"a": 1})
    manifest = peek((clip_node.layout.spool / clip_node.clip() / "manifest.jws").read_bytes(), MANIFEST, Manifest)

    def signed(by: Any, kind: str, read: Callable[[bytes], object]) -> Callable[[bytes], object]:
        return lambda payload: read(sign(msgspec.Raw(payload), by, kind))

    def over(token: bytes, kind: str, into: type, use: Callable[[Any], object]) -> object:
        return use(verify_listed(token, kind, trusted, into))

    def row(by: Any, kind: str, record: Any, read: Callable[[bytes], object]) -> Parser:
        return Parser(signed(by, kind, read), (msgspec.json.encode(record),))

    settings = Settings("city", "stop-1", 7, {"camera": {"fps": 10}})
    ack = Command("ack", "city", "stop-1", CLIP, {"press": "press-1"}, CLIP, 7, 60_000)
    return {
        "basis": row(command, BASIS, A_BASIS, lambda token: over(token, BASIS, Basis, _use_basis)),
        "view": row(command, VIEW, A_VIEW, lambda token: over(token, VIEW, View, _use_view)),
        "order": row(command, ORDER, held, lambda token: verify_order(token, trusted, "city", "stop-1")),
        "command": row(command, COMMAND, ack, lambda token: _use_command(token, trusted)),
        "configuration": row(
            command, CONFIG, settings, lambda token: over(token, CONFIG, Settings, lambda said: _laid(said.settings))
        ),
        "manifest": row(camera, MANIFEST, manifest, lambda token: IndexEntry.of(read_manifest(token, ca)[0])),
        "parcel": row(camera, PARCEL, parcel, lambda token: read_parcel(token, ca)),
        "receipt": row(
            receipt, RECEIPT, Receipt(CLIP, "clip", "city", "stop-1", ZEROS, (file,), now), lambda t: read_receipt(t, ca)
        ),
        "answer": row(camera, ANSWER, said, lambda token: read_answer(token, ca)),
        "entry": row(camera, ENTRY, Entry(0, "camera", NOON, "tick", {"n": 1}, ""), lambda token: peek(token, ENTRY, Entry)),
    }


def _keys(clip_node: ClipNode) -> dict[str, Parser]:
    ca, io, now = authority(clip_node.keys), load_signer(clip_node.layout, "io"), datetime.now(UTC) + timedelta(minutes=1)
    key_set = (clip_node.layout.trust / "command-keys.jws").read_bytes()
    wish = request(new_key()[0], io, ("city", "stop-1"), "io", now)
    order = clip_node.order("hold", CLIP)
    trusted = verify_key_set(key_set, COMMAND_KEYS, ca)
    pems = ((clip_node.layout.certificates / "io.pem").read_bytes(), *_odd_certificates())
    return {
        "jws": Parser(_peek, (order, wish, key_set)),
        "listed": Parser(lambda data: verify_order(data, trusted, "city", "stop-1"), (order,)),
        "issued": Parser(lambda data: (read_request(data, ca, now), certificates_of(data, RENEWAL)), (wish,)),
        "key set": Parser(lambda data: verify_key_set(data, COMMAND_KEYS, ca).keys, (key_set,)),
        "certificates": Parser(lambda data: _chain(data, ca), pems),
        "private key": Parser(lambda data: thumbprint(load_private_key(data).public_key()), (new_key()[1], *_odd_keys())),
        "renewal": Parser(
            lambda data: requested_key(sign(Renewal("city", "stop-1", "io", data.decode(errors="replace"), NOON), io, RENEWAL)),
            (peek(wish, RENEWAL, Renewal).csr.encode(),),
        ),
    }


def _node(clip_node: ClipNode) -> dict[str, Parser]:
    envelope = Envelope(1, CLIP, "e", 1, NOON, 1, "b", "synced", False)
    standing = ServiceState("ready", "filming", NOON, None, "nobody")
    part = {"file": "clip.age", "offset": 0, "size": 1, "url": "/v1/x", "done": False, "headers": {"A": "b"}}
    said = {"parts": [part], "receipt": "r", "orders": ["o"]}
    return {
        "head": Parser(lambda data: str(Head.parse(data.decode(errors="replace"))), (f"12:{ZEROS}".encode(), b"0:")),
        "heads": Parser(_heads, (msgspec.json.encode({"io": f"12:{ZEROS}", "camera": "0:"}),)),
        "recipient": Parser(lambda data: Recipient.parse(data.decode(errors="replace")), (_recipient(clip_node),)),
        "message": Parser(lambda data: messages.encode(messages.decode(data)), (messages.encode(Message(envelope, HELP)),)),
        "datagram": Parser(lambda data: foreign.decode(data, Notice, "datagram"), (b'{"kind":"help","id":"press-1","t_ms":7}',)),
        "status": Parser(_status, (msgspec.json.encode(StatusAnswer(standing, CameraStatus(frames=7, view="as_known"))),)),
        "ingest": Parser(lambda data: foreign.decode(data, IngestAnswer, "ingest"), (msgspec.json.encode(said),)),
        "url": Parser(lambda data: endpoint_of(data.decode(errors="replace")), (b"https://store:443/bucket/key?X-Sig=1",)),
        "any": Parser(
            lambda data: msgspec.json.encode(foreign.decode(data, dict[str, Any], "any")), (b'{"a":[1,2.5,"x",null,{}]}',)
        ),
    }


# -- what is done with what was read -----------------------------------------------------------------------------------------


def _toml(path: Path, data: bytes) -> Config:
    path.write_bytes(data)
    with suppress(LyktaError):
        parse(data.decode(errors="replace"))
    return load(path)


def _overlay(data: bytes) -> object:
    return _laid(foreign.decode(data, dict[str, dict[str, Any]], "settings"))


def _laid(said: dict[str, dict[str, Any]]) -> Config:
    node = {"node": {"site": "city", "id": "stop-1", "area": "a"}, "broker": {"host": "b"}, "ingest": {"host": "i"}}
    return build(merged(node, said), "config.jws")


def _peek(data: bytes) -> object:
    kind_of(data), token_id(data)
    for kind, into in ((BASIS, Basis), (ORDER, Order), (MANIFEST, Manifest), (ENTRY, Entry), (CONFIG, Settings)):
        with suppress(LyktaError):
            peek(data, kind, into)
    return peek(data, RENEWAL, Renewal)


def _chain(data: bytes, ca: Any) -> object:
    found = load_chain(data)
    due_at(found[0]), found[0].public_key()
    return certificate_party(found, ca)


def _use_basis(basis: Basis) -> object:
    check_running(basis, "standard", "yolox-nano+yunet")
    return rule(basis, NOON, True), rule(basis, basis.begin, True), deadline(basis, NOON)


def _use_command(token: bytes, trusted: TrustedKeys) -> object:
    """As the uplink passes it on, and as a service judges it."""
    service = addressed_to(token)
    return decide_command(verify_command(token, trusted, "city", "stop-1"), Situation(service, CLIP, 5, 0))


def _use_view(view: View) -> object:
    return check_records(A_BASIS, view, "city", "stop-1", "standard", "yolox-nano+yunet")


def _journal_lines(clip_node: ClipNode) -> bytes:
    folder = clip_node.layout.root / "seed-journal"
    if not folder.exists():
        journal = Journal(folder, "io", load_signer(clip_node.layout, "io"), lambda: NOON)
        for number in range(3):
            journal.append("tick", number=number)
    return segments(folder)[0].read_bytes()


def _journal(clip_node: ClipNode, data: bytes) -> object:
    """Whatever stands in the newest segment: the next entry is written, and what was touched is found."""
    folder = clip_node.layout.root / "fuzz-journal"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    (folder / "0000000000.jws").write_bytes(data)
    f"{newest(folder, NOON):%Y}", str(head_of(folder))
    journal = Journal(folder, "io", load_signer(clip_node.layout, "io"), lambda: NOON)
    journal.append("tick", number=9)
    assert head_of(folder) == journal.head
    return verify_chain(folder, "io", authority(clip_node.keys))


def _odometer(data: bytes) -> object:
    then = read_odometer(data)
    for boot, trusted in (("b", True), ("c", False), ("d", True)):
        now = Instant(NOON, trusted, boot, 60_000)
        then = then.advance(now)
        then.least(NOON), then.since("a", 0)
    return then


def _course(data: bytes) -> object:
    course = foreign.decode(data, RescueState, "course").now("b", 60_000, False)
    return decide(course, RescueFacts(False, False, False)), course.quiet_ms


def _spent(data: bytes) -> object:
    spent = settle(foreign.decode(data, Spent, "spent"), Reading(1.7e9, "b", 9), 1_000_000)
    return wait_s(charge(spent, 10, 1_000_000, urgent=False), 10, 1_000_000)


def _last_word(data: bytes) -> object:
    return reason("camera", foreign.decode(data, ExitReport, "last-word"))


def _refusal(data: bytes) -> object:
    return foreign.decode(data, Refusal, "refusal").t_ms > 0


def _cards(path: Path, data: bytes) -> object:
    path.write_bytes(data)
    return read_entries(path)


def _card_lines(clip_node: ClipNode) -> bytes:
    path = clip_node.layout.root / "seed.index"
    rewrite(path, [IndexEntry(CLIP, NOON, NOON, 1, "help", "complete", NOON, "b", 1, 2)] * 2)
    return path.read_bytes()


def _heads(data: bytes) -> object:
    return read_heads(foreign.decode(data, dict[str, Any], "heads"))


def _status(data: bytes) -> object:
    return msgspec.json.encode(foreign.decode(data, StatusAnswer[CameraStatus], "status"))


def _recipient(clip_node: ClipNode) -> bytes:
    return next(line for line in (clip_node.layout.trust / "recipients.txt").read_bytes().splitlines() if line.startswith(b"age1"))


def _edges() -> bytes:
    return bytes((16, 8)) + (9000).to_bytes(2, "big") + zlib.compress(bytes(range(8)) * 16)


def _odd_certificates() -> tuple[bytes, ...]:
    """Of keys that nobody here uses, with a name that is no text, in DER's own corners."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "city/stop-1")])
    found = []
    for key in (ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()):
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
        found.append(
            made.not_valid_before(NOON).not_valid_after(NOON + timedelta(days=9)).sign(key, None).public_bytes(Encoding.PEM)
        )
    return tuple(found)


def _odd_keys() -> tuple[bytes, ...]:
    return (ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),)
