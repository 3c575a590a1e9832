"""The seal is the age v1 format: stock age opens it, the node trims a torn one without any key."""

import io
import subprocess
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import RecordError, SealError
from privacy.seal import CHUNK, Recipient, Seal, head_size, whole_size


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


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=60, deadline=None)
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
