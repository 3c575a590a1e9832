"""Certificates that follow others: a node's unit asks with its present key, and gets the same role for its new one (R41)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.messages import CertificateWanted, decode, topic
from central.fleet.broker_connection import operator
from central.keys.certificates import certify
from central.keys.key_folder import authority, write
from central.keys.revocation_list import Revoked
from central.keys.signing import read_json
from drivers.mqtt.session import Session
from privacy.errors import LyktaError, RecordError
from privacy.files import OPEN, PUBLIC, locked, make_folder, place, read_own
from privacy.records.jws import certificates_of, thumbprint
from privacy.records.renewal import RENEWAL, Renewal, read_request

_FOLDER = "renewed"
_WAIT_S = 3.0
_MOST = 10_000
Refused = dict[str, str]


def renew(keys: Path, token: bytes) -> tuple[Renewal, bytes]:
    """The certificate (PEM) for a wish; the same wish gets the same one. `RecordError` if it is not to be had.

    Needs the CA's key. Kept in KEYS/renewed/<site>/<node>/.
    """
    trusted = authority(keys)
    wish, key = read_request(token, trusted, datetime.now(UTC))
    if Revoked(keys / "crl.pem", trusted).has(certificates_of(token, RENEWAL)[0].serial_number):
        raise RecordError(f"renewal: {wish.site}/{wish.node}: its certificate was revoked", "a stolen node gets no new one")
    folder = keys / _FOLDER / wish.site / wish.node
    make_folder(folder, OPEN)
    path = folder / f"{wish.unit}-{thumbprint(key)}.pem"
    with locked(folder):
        if not path.exists():
            write(path, certify(keys, key, f"{wish.site}/{wish.node}", wish.unit), 0o644)
    return wish, read_own(path)


def to_files(keys: Path, wishes: list[Path], output: Path) -> tuple[list[str], Refused]:
    """From files into OUTPUT/<site>/<node>/<unit>.pem: whose certificates were given, and who was refused, with the reason."""
    given: list[str] = []
    refused: Refused = {}
    for path in wishes:
        try:
            wish, certificate = renew(keys, read_json("renewal", path))
        except LyktaError as problem:
            refused[str(path)] = str(problem)
            continue
        folder = output / wish.site / wish.node
        make_folder(folder, OPEN)
        place(folder / f"{wish.unit}.pem", certificate, mode=PUBLIC)
        given.append(f"{wish.site}/{wish.node}/{wish.unit}")
    return given, refused


def over_broker(keys: Path, broker: str) -> tuple[list[str], Refused]:
    """The same for all wishes that stand at the broker; each is answered where its node hears it."""
    given: list[str] = []
    refused: Refused = {}
    with operator(keys, broker, (topic("+", "+", "cert", "+", "wanted"),), _MOST) as session:
        for target, payload in sorted(_standing(session).items()):
            one = "/".join(target.split("/")[2:4] + target.split("/")[5:6])
            try:
                wish, certificate = renew(keys, _wish_in(payload))
                if target != topic(wish.site, wish.node, "cert", wish.unit, "wanted"):
                    raise RecordError(f"renewal: is {wish.site}/{wish.node}'s for {wish.unit}", "each node asks for itself")
                session.publish(topic(wish.site, wish.node, "cert", wish.unit, "desired"), certificate, retain=True)
                given.append(one)
            except LyktaError as problem:
                refused[one] = str(problem)
    return given, refused


def _standing(session: Session) -> dict[str, bytes]:
    """Wishes by topic, until nothing more came for a while."""
    standing: dict[str, bytes] = {}
    while len(standing) < _MOST and (one := session.receive(_WAIT_S)):
        standing[one[0]] = one[1]
    return standing


def _wish_in(payload: bytes) -> bytes:
    try:
        body = decode(payload).body
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RecordError(f"renewal: not a message: {problem}", "an older or newer node?") from problem
    if not isinstance(body, CertificateWanted):
        raise RecordError("renewal: another message", "an older or newer node?")
    return body.jws.encode()
