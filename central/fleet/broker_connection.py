"""The operators' connection to the broker, with the certificate of a role (ops.pem, desk.pem) from the folder of keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from central.keys.bundle import Address
from drivers.mqtt.client import Credentials
from drivers.mqtt.session import Session, session


@contextmanager
def operator_session(
    keys: Path, broker: str, subscribe: tuple[str, ...] = (), most: int = 1000, role: str = "ops"
) -> Iterator[Session]:
    """An MQTT session for the block. broker: HOST:PORT; subscribe, most: as in `session`; role: whose certificate is used.

    `UnreachableError` if it fails.
    """
    address, credentials = Address.parse(broker), Credentials(keys / "ca.pem", keys / f"{role}.pem", keys / f"{role}.key")
    with session(f"{role}-{uuid.uuid4()}", credentials, (address.host, address.port), subscribe, most) as opened:
        yield opened
