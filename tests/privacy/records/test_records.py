"""Signed records: one byte form, one way to be valid, and a plain error for everything else."""

import base64
import hashlib
import hmac
import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from central.keys.keygen import authority, issue, keygen, signer
from privacy.errors import RecordError
from privacy.records.command import COMMAND, Command, verify_command
from privacy.records.jws import (
    Signer,
    TrustedKeys,
    canonical,
    key_set,
    load_chain,
    load_private_key,
    sign,
    thumbprint,
    verify_issued,
    verify_key_set,
    verify_listed,
)

KIND = "lykta-test"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Note(Struct, frozen=True, forbid_unknown_fields=True):
    """Fields on purpose not in the order of the alphabet."""

    word: str
    count: int
    more: dict[str, int]


NOTE = Note("hållplats", 3, {"b": 2, "a": 1})


@dataclass(frozen=True)
class Keys:
    folder: Path
    camera: Signer
    bare: Signer

    @property
    def listed(self) -> TrustedKeys:
        return trusted(self.bare)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys") / "centre"
    keygen(folder, ["127.0.0.1"])
    issue(folder, folder / "camera", "city/stop-1", "camera")
    return Keys(folder, signer(folder, "camera"), signer(folder, "basis"))


def trusted(*signers: Signer) -> TrustedKeys:
    return TrustedKeys({one.kid: one.key.public_key() for one in signers})


def raw(token: bytes) -> list[bytes]:
    """The bytes of header, payload and signature."""
    return [base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in token.split(b".")]


def wrapped(header: dict[str, Any], payload: bytes, signature: bytes) -> bytes:
    parts = (json.dumps(header).encode(), payload, signature)
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)


# -- canonical form ----------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_canonical_is_sorted_json_without_spaces(record: Any) -> None:
    """Any other software gets the same bytes: keys sorted, no spaces, UTF-8."""
    assert json.loads(canonical(record)) == record
    assert canonical(json.loads(canonical(record))) == canonical(record)
    if isinstance(record, dict):
        assert list(json.loads(canonical(record))) == sorted(record, key=str.encode)


def test_canonical_of_a_record_is_that_of_its_plain_form() -> None:
    """The field order in our source decides nothing."""
    assert canonical(NOTE) == '{"count":3,"more":{"a":1,"b":2},"word":"hållplats"}'.encode()
    assert canonical(msgspec.to_builtins(NOTE)) == canonical(NOTE)


# -- signatures --------------------------------------------------------------------------------------------------------


def test_what_was_signed_is_read_back(keys: Keys) -> None:
    assert verify_listed(sign(NOTE, keys.bare, KIND), KIND, keys.listed, Note) == NOTE
    note, party = verify_issued(sign(NOTE, keys.camera, KIND) + b"\n", KIND, authority(keys.folder), "camera", Note)
    assert (note, party.name, party.role) == (NOTE, "city/stop-1", "camera")


@settings(max_examples=150)
@given(place=st.integers(0, 10**6), byte=st.sampled_from(b"ABCDwxyz0189-_.{ "))
def test_no_byte_of_a_record_can_be_changed(keys: Keys, place: int, byte: int) -> None:
    for token, check in (
        (sign(NOTE, keys.bare, KIND), lambda t: verify_listed(t, KIND, keys.listed, Note)),
        (sign(NOTE, keys.camera, KIND), lambda t: verify_issued(t, KIND, authority(keys.folder), "camera", Note)),
    ):
        changed = bytearray(token)
        changed[place % len(token)] = byte
        try:
            same = raw(bytes(changed)) == raw(token)
        except ValueError:
            same = False
        # Unused bits of a base64 group's last letter carry nothing; a space at an end is stripped from files.
        assume(not same and bytes(changed).strip() == bytes(changed))
        with pytest.raises(RecordError):
            check(bytes(changed))


@settings(max_examples=200)
@given(
    st.binary(max_size=60) | st.lists(st.binary(max_size=30).map(base64.urlsafe_b64encode), min_size=2, max_size=4).map(b".".join)
)
def test_rubbish_is_a_record_error(keys: Keys, token: bytes) -> None:
    """Never another exception: whatever lies in the file, the camera stays closed with a reason."""
    with pytest.raises(RecordError):
        verify_listed(token, KIND, keys.listed, Note)
    with pytest.raises(RecordError):
        verify_issued(token, KIND, authority(keys.folder), "camera", Note)


HEADERS = st.fixed_dictionaries(
    {"alg": st.just("ES256"), "typ": st.just(KIND)},
    optional={
        "kid": PLAIN,
        "x5c": PLAIN | st.lists(st.text("ABCD+/=", max_size=8), max_size=2),
        "b64": PLAIN,
        "crit": PLAIN,
        "jwk": PLAIN,
    },
)


@settings(max_examples=200)
@example(header=["alg"], payload=b"", signature=b"")
@example(header="alg", payload=b"{}", signature=bytes(64))
@given(header=HEADERS | PLAIN, payload=st.binary(max_size=20), signature=st.binary(max_size=70))
def test_a_forged_header_is_a_record_error(keys: Keys, header: Any, payload: bytes, signature: bytes) -> None:
    token = wrapped(header, payload, signature)
    with pytest.raises(RecordError):
        verify_listed(token, KIND, keys.listed, Note)
    with pytest.raises(RecordError):
        verify_issued(token, KIND, authority(keys.folder), "camera", Note)


def test_no_other_algorithm_is_taken(keys: Keys) -> None:
    """ "none", and HMAC keyed with the public key, are the two classic forgeries."""
    public = keys.bare.key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for alg in ("none", "HS256"):
        header = {"alg": alg, "typ": KIND, "kid": keys.bare.kid}
        signed = wrapped(header, canonical(NOTE), b"").rstrip(b".")
        mac = hmac.new(public, signed, hashlib.sha256).digest() if alg == "HS256" else b""
        with pytest.raises(RecordError, match=alg):
            verify_listed(wrapped(header, canonical(NOTE), mac), KIND, keys.listed, Note)


def test_a_key_in_the_header_is_not_trusted(keys: Keys) -> None:
    """A stranger who names the trusted key's id signs with his own key."""
    stranger = Signer(ec.generate_private_key(ec.SECP256R1()))
    token = sign(NOTE, stranger, KIND)
    with pytest.raises(RecordError, match="not trusted here"):
        verify_listed(token, KIND, keys.listed, Note)
    header, payload, signature = raw(token)
    claims = {**json.loads(header), "kid": keys.bare.kid}
    with pytest.raises(RecordError, match="bad signature"):
        verify_listed(wrapped(claims, payload, signature), KIND, keys.listed, Note)


def test_a_record_of_another_kind_is_refused(keys: Keys) -> None:
    """A signed view must not pass as a basis, though the same key signs both."""
    with pytest.raises(RecordError, match="'lykta-view'"):
        verify_listed(sign(NOTE, keys.bare, "lykta-view"), KIND, keys.listed, Note)


def test_unknown_fields_are_refused(keys: Keys) -> None:
    token = sign({**msgspec.to_builtins(NOTE), "hours": "always"}, keys.bare, KIND)
    with pytest.raises(RecordError, match="unknown field"):
        verify_listed(token, KIND, keys.listed, Note)


# -- certificates ------------------------------------------------------------------------------------------------------


def test_the_role_is_the_certificates(keys: Keys) -> None:
    """Only the camera's key may sign manifests."""
    issue(keys.folder, keys.folder / "uplink", "city/stop-1", "uplink")
    with pytest.raises(RecordError, match="role 'uplink', not 'camera'"):
        verify_issued(sign(NOTE, signer(keys.folder, "uplink"), KIND), KIND, authority(keys.folder), "camera", Note)


def test_a_foreign_ca_is_refused(keys: Keys, tmp_path: Path) -> None:
    """Another centre with the same names."""
    keygen(tmp_path / "other", ["127.0.0.1"])
    issue(tmp_path / "other", tmp_path / "other/camera", "city/stop-1", "camera")
    with pytest.raises(RecordError, match="not of this centre"):
        verify_issued(sign(NOTE, signer(tmp_path / "other", "camera"), KIND), KIND, authority(keys.folder), "camera", Note)


def test_a_leaf_certifies_nobody(keys: Keys) -> None:
    """A node's key cannot issue itself another role: its certificate is not the CA's."""
    leaf = keys.camera
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "receipt")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(leaf.chain[0].subject)
    builder = builder.public_key(leaf.key.public_key()).serial_number(1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=9999))
    forged = builder.sign(leaf.key, hashes.SHA256())
    token = sign(NOTE, Signer(leaf.key, (forged, *leaf.chain)), KIND)
    with pytest.raises(RecordError, match="not of this centre"):
        verify_issued(token, KIND, authority(keys.folder), "receipt", Note)


def test_the_signature_must_be_the_certificates(keys: Keys) -> None:
    """Carrying somebody else's certificate is no proof."""
    thief = Signer(ec.generate_private_key(ec.SECP256R1()), keys.camera.chain)
    with pytest.raises(RecordError, match="bad signature"):
        verify_issued(sign(NOTE, thief, KIND), KIND, authority(keys.folder), "camera", Note)


@pytest.mark.parametrize("days", [-2, 365 * 3])
def test_a_certificate_holds_only_in_its_time(keys: Keys, days: int) -> None:
    at = datetime.now(UTC) + timedelta(days=days)
    with pytest.raises(RecordError, match="was not valid at"):
        verify_issued(sign(NOTE, keys.camera, KIND), KIND, authority(keys.folder), "camera", Note, at)


def test_an_unenrolled_signer_is_refused(keys: Keys) -> None:
    with pytest.raises(RecordError, match="carries no certificate"):
        verify_issued(sign(NOTE, keys.bare, KIND), KIND, authority(keys.folder), "camera", Note)


def test_openssl_checks_what_we_sign(keys: Keys, tmp_path: Path) -> None:
    """Other software can verify chain and signature with stock tools."""
    token = sign(NOTE, keys.camera, KIND)
    header, _, signature = raw(token)
    certificate = base64.b64decode(json.loads(header)["x5c"][0])
    (tmp_path / "leaf.pem").write_bytes(x509.load_der_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM))
    (tmp_path / "signed").write_bytes(token.rpartition(b".")[0])
    halves = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    (tmp_path / "signature").write_bytes(encode_dss_signature(*halves))
    openssl("verify", "-CAfile", keys.folder / "ca.pem", tmp_path / "leaf.pem")
    openssl("x509", "-in", tmp_path / "leaf.pem", "-pubkey", "-noout", "-out", tmp_path / "public.pem")
    openssl("dgst", "-sha256", "-verify", tmp_path / "public.pem", "-signature", tmp_path / "signature", tmp_path / "signed")


# -- key sets and files ------------------------------------------------------------------------------------------------


def test_a_key_set_counts_only_if_the_ca_signed_it(keys: Keys) -> None:
    listed = key_set([keys.bare.key.public_key()])
    assert "d" not in listed["keys"][0]
    found = verify_key_set(sign(listed, signer(keys.folder, "ca"), "lykta-basis-keys"), "lykta-basis-keys", authority(keys.folder))
    assert verify_listed(sign(NOTE, keys.bare, KIND), KIND, found, Note) == NOTE
    for other in (keys.bare, keys.camera):
        with pytest.raises(RecordError, match="not signed by this"):
            verify_key_set(sign(listed, other, "lykta-basis-keys"), "lykta-basis-keys", authority(keys.folder))


def test_a_key_set_names_its_own_thumbprints(keys: Keys) -> None:
    """A kid written into the set cannot stand for another key."""
    listed = key_set([keys.bare.key.public_key()])
    listed["keys"][0]["kid"] = "somebody-else"
    found = verify_key_set(sign(listed, signer(keys.folder, "ca"), "lykta-basis-keys"), "lykta-basis-keys", authority(keys.folder))
    assert list(found.keys) == [thumbprint(keys.bare.key.public_key())]


@pytest.mark.parametrize("curve", [ec.SECP384R1(), None])
def test_only_a_whole_p256_key_is_loaded(curve: ec.EllipticCurve | None) -> None:
    pem = b"-----BEGIN PRIVATE KEY-----\ntorn\n"
    if curve:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        pem = ec.generate_private_key(curve).private_bytes(*form)
    with pytest.raises(RecordError, match="private key"):
        load_private_key(pem)


def test_a_torn_certificate_is_refused(keys: Keys) -> None:
    with pytest.raises(RecordError, match="certificate"):
        load_chain((keys.folder / "camera.pem").read_bytes()[:-60])


# -- commands ----------------------------------------------------------------------------------------------------------


def order(**changes: Any) -> Command:
    return msgspec.structs.replace(Command("ping", "city", "stop-1", "c1", {}, "boot-1", 1, 60_000), **changes)


def test_a_command_is_read_back(keys: Keys) -> None:
    """When it stands is judged by the service: tests/attacks/test_commands.py."""
    assert verify_command(sign(order(), keys.bare, COMMAND), keys.listed, "city", "stop-1") == order()


@pytest.mark.parametrize(
    "changes", [{"id": "a/b"}, {"id": "+"}, {"name": "Ack"}, {"number": 0}, {"number": 2**53}, {"end_ms": -1}, {"boot_id": ""}]
)
def test_a_command_of_another_form_is_refused(keys: Keys, changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="lykta-command"):
        verify_command(sign(order(**changes), keys.bare, COMMAND), keys.listed, "city", "stop-1")


@pytest.mark.parametrize(("site", "node"), [("city", "stop-2"), ("other", "stop-1")])
def test_another_nodes_command_is_refused(keys: Keys, site: str, node: str) -> None:
    with pytest.raises(RecordError, match="is for city/stop-1"):
        verify_command(sign(order(), keys.bare, COMMAND), keys.listed, site, node)


def test_a_strangers_command_is_refused(keys: Keys) -> None:
    with pytest.raises(RecordError, match="not trusted"):
        verify_command(sign(order(), keys.camera, COMMAND), keys.listed, "city", "stop-1")


def openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
