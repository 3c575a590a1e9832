"""trust/recipients.txt: the recipients to whom clips are sealed, in the format of `age -R`, signed by the centre's CA.

One recipient per line; lines with "#" are comments, and one of them is the signature of the list:

    age1…
    # signature: eyJ…
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from privacy.errors import RecordError
from privacy.records.jws import Authority, Signer, sign, verify_by_ca
from privacy.records.seal import Recipient

RECIPIENTS = "lykta-recipients"
MOST = 16
_SIGNATURE = b"# signature: "
_FIRST = "# Clips are sealed to these, and to nobody else. `lykta-central bundle KEYS --trust-only ROOT` makes this file anew."
_HINT = "at the centre: lykta-central bundle KEYS --trust-only ROOT; place ROOT/etc/lykta/trust on the node"


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """The record that the CA signs: the recipients in the order of the lines."""

    recipients: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MOST)]


def signed_list(recipients: tuple[str, ...], ca: Signer) -> bytes:
    """The content of the file; `RecordError` if a recipient is invalid."""
    for one in recipients:
        Recipient.parse(one)
    if not 0 < len(recipients) <= MOST:
        raise RecordError(f"recipients: must be 1 to {MOST} (got {len(recipients)})", "edit recipients.txt in the key folder")
    lines = [_FIRST, *recipients]
    return "\n".join(lines).encode() + b"\n" + _SIGNATURE + sign(Listed(recipients), ca, RECIPIENTS) + b"\n"


def read_list(file: bytes, authority: Authority) -> tuple[str, ...]:
    """The recipients, if the lines are exactly those that a CA of the centre signed; otherwise `RecordError`."""
    lines = [line.strip() for line in file.splitlines() if line.strip()]
    tokens = [line.removeprefix(_SIGNATURE) for line in lines if line.startswith(_SIGNATURE)]
    if len(tokens) != 1:
        raise RecordError("recipients: trust/recipients.txt is not signed by the centre", _HINT)
    signed = verify_by_ca(tokens[0], RECIPIENTS, authority, Listed).recipients
    found = tuple(line.decode(errors="replace") for line in lines if not line.startswith(b"#"))
    if found != signed:
        raise RecordError("recipients: trust/recipients.txt has other lines than the centre signed", _HINT)
    return signed
