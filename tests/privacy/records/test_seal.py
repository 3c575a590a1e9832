"""The seal is the age v1 format: stock age opens it, the node trims a torn one without any key."""

import hashlib
import io
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import RecordError, SealError
from privacy.records.seal import CHUNK, Recipient, Seal, Tail, head_size, seal_tail, whole_size


def sealed(data: bytes, *identities: pyrage.x25519.Identity, step: int = 10_000) -> bytes:
    out = io.BytesIO()
    seal = Seal(out, [Recipient.parse(str(identity.to_public())) for identity in identities])
    for begin in range(0, len(data), step):
        seal.write(data[begin : begin + step])
    seal.close()
    assert seal.size == len(out.getvalue())
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK + 17])
def test_every_recipient_opens_every_boundary_size(size: int) -> None:
    """R30, promise 2: only the recipients open it, and each of them does."""
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    first, second, stranger = (pyrage.x25519.Identity.generate() for _ in range(3))
    token = sealed(data, first, second)
    assert pyrage.decrypt(token, [first]) == data
    assert pyrage.decrypt(token, [second]) == data
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(token, [stranger])


def test_stock_age_opens_it(tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity.txt").write_text(str(identity))
    (tmp_path / "clip.age").write_bytes(sealed(b"lantern" * 50_000, identity))
    done = subprocess.run(["age", "-d", "-i", tmp_path / "identity.txt", tmp_path / "clip.age"], capture_output=True, check=True)
    assert done.stdout == b"lantern" * 50_000


@settings(max_examples=30)
@given(size=st.integers(0, 4 * CHUNK), cut=st.integers(0, 5 * CHUNK))
def test_a_torn_file_keeps_its_whole_chunks(size: int, cut: int) -> None:
    """Promise 3: what a power cut leaves is trimmed to chunks that open, without a key."""
    identity = pyrage.x25519.Identity.generate()
    token = sealed(bytes(size), identity)
    torn = token[: min(cut, len(token))]
    try:
        head = head_size(torn)
    except SealError:
        assert len(torn) < 250 + 16
        return
    end = whole_size(head, len(torn))
    assert end <= len(torn) < end + CHUNK + 16
    assert (end - head) % (CHUNK + 16) == 0


def test_no_recipient_is_refused() -> None:
    with pytest.raises(RecordError, match="none given"):
        Seal(io.BytesIO(), [])


@settings(max_examples=60)
@given(place=st.integers(4, 61), letter=st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_a_mistyped_recipient_is_refused(place: int, letter: str) -> None:
    """A typing error must not seal a clip to nobody."""
    good = str(pyrage.x25519.Identity.generate().to_public())
    bad = good[:place] + letter + good[place + 1 :]
    if bad == good:
        assert Recipient.parse(bad).text == good
        return
    with pytest.raises(RecordError, match="not an age recipient"):
        Recipient.parse(bad)


@pytest.mark.parametrize("text", ["", "age1", "AGE-SECRET-KEY-1QQ", "age1" + "q" * 58, "ssh-ed25519 AAAA"])
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(RecordError):
        Recipient.parse(text)


# -- byte vectors --------------------------------------------------------------------------------------------------------
# Two fixed identities and counted entropy: the same clear bytes give these sealed bytes for ever. Each was opened by stock age.

ONE = "AGE-SECRET-KEY-1JR8PF8VPJDCA0AE7QG7J7378UVTARC9XRHTWQWH6XNPKGP548FYQJQQJ82"
TWO = "AGE-SECRET-KEY-1D86FCQNKDZ25NHD8ZSVE7RTZ4CDX357Y7Q3NJGKCS9RJ0W897D9QE5J7PQ"
VECTORS = {
    0: "15d7fe8b1c5f9df31d2ea561bbc12a4edfa1b6d4326131590074cbade489da75",
    5: "5967e89942567217415148f35845ab2a4a1f7af2780183a1a68eef9ae23a0308",
    CHUNK: "f5bb71c682025ba090fd974a33deb17aa42866997593b63d37f7be52302ede96",
    CHUNK + 1: "853b3940750cb60dbc088c908784cf91ed1ef40f39ea46471205384c4c145846",
    3 * CHUNK + 17: "c10e145f1a40441b1ed088cf2c8becfacabbb51c0071116df741b95da7fcfb55",
}


def counted() -> Callable[[int], bytes]:
    """Entropy that everybody can make: SHA-256 of "lykta vector N", cut to size."""
    numbers = itertools.count()
    return lambda size: hashlib.sha256(f"lykta vector {next(numbers)}".encode()).digest()[:size]


def vector(size: int) -> bytes:
    out = io.BytesIO()
    to = [Recipient.parse(str(pyrage.x25519.Identity.from_str(one).to_public())) for one in (ONE, TWO)]
    seal = Seal(out, to, counted())
    seal.write((b"lantern " * (size // 8 + 1))[:size])
    seal.close()
    return out.getvalue()


@pytest.mark.parametrize("size", VECTORS)
def test_the_sealed_bytes_are_these(size: int, tmp_path: Path) -> None:
    """Promise 2: a change of the format, of chunk, nonce or key derivation, shows here; and stock age opens what is pinned."""
    sealed = vector(size)
    assert hashlib.sha256(sealed).hexdigest() == VECTORS[size]
    for name, identity in (("one", ONE), ("two", TWO)):
        (tmp_path / name).write_text(identity)
        done = subprocess.run(["age", "-d", "-i", tmp_path / name], input=sealed, capture_output=True, check=True)
        assert done.stdout == (b"lantern " * (size // 8 + 1))[:size]


def test_a_post_quantum_recipient_is_refused_for_now() -> None:
    """No clip is sealed to somebody whom this version does not know how to seal to."""
    with pytest.raises(RecordError, match="not an age recipient"):
        Recipient.parse("age1pq" + "q" * 100)


# -- the tail ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(video=st.integers(0, 3 * CHUNK), masks=st.integers(0, CHUNK + 100))
def test_a_tail_holds_what_no_chunk_holds(video: int, masks: int) -> None:
    """Promise 3: whole chunks and the tail together are all that was fed, at every size, and only the centre opens it."""
    identity = pyrage.x25519.Identity.generate()
    to = [Recipient.parse(str(identity.to_public()))]
    files = {name: (io.BytesIO(), bytes([fill]) * size) for name, fill, size in (("video", 1, video), ("masks", 2, masks))}
    seals = {name: Seal(sink, to) for name, (sink, _) in files.items()}
    for name, (_, clear) in files.items():
        seals[name].write(clear)
    tail = pyrage.decrypt(seal_tail(seals["video"], seals["masks"]), [identity])
    line, _, rest = tail.partition(b"\n")
    head = msgspec.json.decode(line, type=Tail)
    assert len(rest) == head.clip[1] + head.masks[1]
    for name, (offset, size), part in (("video", head.clip, rest[: head.clip[1]]), ("masks", head.masks, rest[head.clip[1] :])):
        sealed, clear = files[name][0].getvalue(), files[name][1]
        assert (len(sealed) - head_size(sealed)) // (CHUNK + 16) * CHUNK == offset
        assert clear[:offset] + part == clear
        assert len(part) == size
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(seal_tail(seals["video"], seals["masks"]), [pyrage.x25519.Identity.generate()])
