"""Renews certificates: a node's unit signs a request with its present key and gets a certificate with the same role (R41)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.messages import CertificateWanted, decode, topic
from central.fleet.broker_connection import operator_session
from central.keys.certificates import certify
from central.keys.key_folder import authority, write
from central.keys.revocation_list import RevocationList
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
    """The request and the new certificate (PEM); the same request gets the same certificate. `RecordError` if it is refused.

    Needs the CA's key. Certificates are kept in KEYS/renewed/<site>/<node>/.
    """
    trusted = authority(keys)
    request, key = read_request(token, trusted, datetime.now(UTC))
    if RevocationList(keys / "crl.pem", trusted).has(certificates_of(token, RENEWAL)[0].serial_number):
        raise RecordError(f"renewal: {request.site}/{request.node}: its certificate was revoked", "a stolen node gets no new one")
    folder = keys / _FOLDER / request.site / request.node
    make_folder(folder, OPEN)
    path = folder / f"{request.unit}-{thumbprint(key)}.pem"
    with locked(folder):
        if not path.exists():
            write(path, certify(keys, key, f"{request.site}/{request.node}", request.unit), 0o644)
    return request, read_own(path)


def renew_from_files(keys: Path, requests: list[Path], output: Path) -> tuple[list[str], Refused]:
    """Renew for request files, into OUTPUT/<site>/<node>/<unit>.pem; returns who got one, and the refused files with the reason."""
    given: list[str] = []
    refused: Refused = {}
    for path in requests:
        try:
            request, certificate = renew(keys, read_json("renewal", path))
        except LyktaError as problem:
            refused[str(path)] = str(problem)
            continue
        folder = output / request.site / request.node
        make_folder(folder, OPEN)
        place(folder / f"{request.unit}.pem", certificate, mode=PUBLIC)
        given.append(f"{request.site}/{request.node}/{request.unit}")
    return given, refused


def renew_over_broker(keys: Path, broker: str) -> tuple[list[str], Refused]:
    """Renew for all requests retained at the broker, and publish each certificate there; returns as `renew_from_files`."""
    given: list[str] = []
    refused: Refused = {}
    with operator_session(keys, broker, (topic("+", "+", "cert", "+", "wanted"),), _MOST) as session:
        for target, payload in sorted(_retained_requests(session).items()):
            one = "/".join(target.split("/")[2:4] + target.split("/")[5:6])
            try:
                request, certificate = renew(keys, _request_in(payload))
                if target != topic(request.site, request.node, "cert", request.unit, "wanted"):
                    raise RecordError(
                        f"renewal: is {request.site}/{request.node}'s for {request.unit}", "a node may ask only for itself"
                    )
                session.publish(topic(request.site, request.node, "cert", request.unit, "desired"), certificate, retain=True)
                given.append(one)
            except LyktaError as problem:
                refused[one] = str(problem)
    return given, refused


def _retained_requests(session: Session) -> dict[str, bytes]:
    """Requests by topic, until none arrives for `_WAIT_S`."""
    retained: dict[str, bytes] = {}
    while len(retained) < _MOST and (one := session.receive(_WAIT_S)):
        retained[one[0]] = one[1]
    return retained


def _request_in(payload: bytes) -> bytes:
    try:
        body = decode(payload).body
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RecordError(f"renewal: not a message: {problem}", "an older or newer node?") from problem
    if not isinstance(body, CertificateWanted):
        raise RecordError("renewal: another message", "an older or newer node?")
    return body.jws.encode()
