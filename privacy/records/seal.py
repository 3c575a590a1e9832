"""Sealing: writes the age v1 format as a stream for X25519 recipients. The node can write it but cannot decrypt it.

    header   "age-encryption.org/v1", one X25519 stanza per recipient, HMAC of the header
    payload  16-byte nonce, then 64 KiB chunks of ChaCha20-Poly1305; the last one is marked in its nonce

Source: the age specification, C2SP age.md; bech32 of recipients: BIP 173. ChaCha20 suits the Pi 4 and Zero 2 W, which have no
AES instructions. Chunks of 64 KiB also limit the time for which the cipher holds Python's global lock.
"""

from __future__ import annotations

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from privacy.errors import RecordError, SealError

CHUNK = 64 * 1024
TAG = 16
LONGEST_HEAD = 16 * 1024
"""A header of 16 recipients takes under 2 KB."""
NONCE = 16
_VERSION = b"age-encryption.org/v1"
_LABEL = b"age-encryption.org/v1/X25519"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class SealSink(Protocol):
    """Takes the sealed bytes; raises OSError if it cannot write all of them."""

    def write(self, data: bytes, /) -> int: ...


Entropy = Callable[[int], bytes]
"""Returns so many random bytes. A source other than the system's is used only for published test vectors."""


class Recipient(ABC):
    """A public key that sealed files can be decrypted with. Another type (e.g. post-quantum `age1pq…`) is a further subclass and a
    line in `parse`.

    text   its public form, as in recipients.txt and in manifests
    """

    text: str

    @abstractmethod
    def wrap(self, file_key: bytes, entropy: Entropy) -> bytes:
        """The header's stanza that gives this recipient the file key (16 bytes), with its line end."""

    @staticmethod
    def parse(text: str) -> Recipient:
        """The recipient for a public form; `RecordError` if it is not valid."""
        return X25519Recipient(text, X25519PublicKey.from_public_bytes(_bech32_decode(text, "age")))


@dataclass(frozen=True)
class X25519Recipient(Recipient):
    """An age X25519 public key, "age1…"."""

    text: str
    key: X25519PublicKey

    def wrap(self, file_key: bytes, entropy: Entropy) -> bytes:
        ephemeral = X25519PrivateKey.from_private_bytes(entropy(32))
        share = _raw(ephemeral.public_key())
        key = _derive(ephemeral.exchange(self.key), share + _raw(self.key), _LABEL)
        body = ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)
        return b"-> X25519 " + _b64(share) + b"\n" + _b64(body) + b"\n"


class Seal:
    """Writes a sealed file: `write` adds data, `close` ends it. Of a file without its end, all complete chunks can be decrypted.

    sha256, size   of the sealed bytes written so far
    pending        clear bytes that are not in a chunk yet
    offset         their position in the clear stream
    """

    def __init__(self, sink: SealSink, recipients: Sequence[Recipient], entropy: Entropy = os.urandom) -> None:
        if not recipients:
            raise RecordError("recipients: none given", "trust/recipients.txt lists the recipients that the centre chose")
        self._sink = sink
        self._pending = bytearray()
        self._counter = 0
        self._hash = hashlib.sha256()
        self.recipients = tuple(recipients)
        self.size = 0
        file_key, nonce = entropy(16), entropy(NONCE)
        self._emit(_header(file_key, recipients, entropy) + nonce)
        self._cipher = ChaCha20Poly1305(_derive(file_key, nonce, b"payload"))

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    @property
    def pending(self) -> bytes:
        return bytes(self._pending)

    @property
    def offset(self) -> int:
        return self._counter * CHUNK

    def write(self, data: bytes) -> int:
        """Seal clear bytes: complete chunks are written to the sink at once, the rest is kept. Returns the number of bytes."""
        self._pending += data
        # A chunk is sealed only when more data follows: the last chunk of a file must not be empty unless the file is.
        while len(self._pending) > CHUNK:
            self._seal_chunk(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]
        return len(data)

    def close(self) -> None:
        """Seal the rest as the last chunk; nothing may be written afterwards."""
        self._seal_chunk(bytes(self._pending), last=True)
        self._pending.clear()

    def _seal_chunk(self, chunk: bytes, *, last: bool) -> None:
        nonce = self._counter.to_bytes(11, "big") + bytes([last])
        self._counter += 1
        self._emit(self._cipher.encrypt(nonce, chunk, None))

    def _emit(self, data: bytes) -> None:
        self._sink.write(data)
        self._hash.update(data)
        self.size += len(data)


class Tail(Struct, frozen=True):
    """The first line of a tail, in JSON: position of its bytes in the clear video and mask records, as (offset, size)."""

    clip: tuple[int, int]
    masks: tuple[int, int]


def seal_tail(video: Seal, masks: Seal) -> bytes:
    """A small complete sealed file with the pending bytes of two files: a `Tail` line, then the video's, then the masks'.

    An age chunk has 64 KiB, which takes seconds to fill for a quiet scene, and a chunk must not be sealed twice. The tail makes
    the last synced second readable after a power cut. It is replaced at each sync and deleted when the clip is complete.
    """
    head = Tail((video.offset, len(video.pending)), (masks.offset, len(masks.pending)))
    memory = _MemorySink()
    seal = Seal(memory, video.recipients)
    seal.write(msgspec.json.encode(head) + b"\n" + video.pending + masks.pending)
    seal.close()
    return bytes(memory.data)


class _MemorySink:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> int:
        self.data += data
        return len(data)


def whole_size(head: int, size: int) -> int:
    """Bytes of header, nonce and complete chunks in an incomplete file of that size: the length to which it is cut.

    head   bytes of header and nonce
    """
    return head + (size - head) // (CHUNK + TAG) * (CHUNK + TAG)


def head_size(data: bytes) -> int:
    """Bytes of header and payload nonce at the start of a sealed file; `SealError` if they are incomplete."""
    start = data.find(b"\n--- ")
    end = data.find(b"\n", start + 5)
    if not data.startswith(_VERSION) or start < 0 or end < 0 or len(data) < end + 1 + NONCE:
        raise SealError("sealed file: incomplete header", "nothing of this file can be opened")
    return end + 1 + NONCE


def stanzas(head: bytes) -> int:
    """Number of recipients of a sealed file, from its first bytes; `SealError` if they do not contain the complete header.

    Each stanza is one recipient, except age's random ones ("grease"), which Lykta does not write.
    """
    end = head.find(b"\n--- ")
    if not head.startswith(_VERSION + b"\n") or end < 0:
        raise SealError("sealed file: no complete header", "nothing of this file can be opened")
    return sum(line.startswith(b"-> ") for line in head[:end].split(b"\n"))


def _header(file_key: bytes, recipients: Sequence[Recipient], entropy: Entropy) -> bytes:
    stanzas = b"".join(recipient.wrap(file_key, entropy) for recipient in recipients)
    signed = _VERSION + b"\n" + stanzas + b"---"
    mac = hmac.HMAC(_derive(file_key, b"", b"header"), hashes.SHA256())
    mac.update(signed)
    return signed + b" " + _b64(mac.finalize()) + b"\n"


def _derive(secret: bytes, salt: bytes, label: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, label).derive(secret)


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _b64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _bech32_decode(text: str, prefix: str) -> bytes:
    """The 32 bytes in a bech32 string (BIP 173); `RecordError` on any error, so that a typing error is not used as a recipient."""
    words = [_BECH32.find(c) for c in text[len(prefix) + 1 :]]
    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    if not text.startswith(prefix + "1") or len(words) != 58 or min(words) < 0 or _polymod(expanded + words) != 1:
        raise RecordError(f"recipients: not an age recipient (got {text!r})", "a line looks like age1… and has 62 characters")
    number = int("".join(f"{word:05b}" for word in words[:-6])[:256], 2)
    return number.to_bytes(32, "big")


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check
