"""The operators' connection to the broker, with the certificate that stands in the folder of keys."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from central.keys.bundle import Address
from drivers.mqtt.client import Credentials
from drivers.mqtt.session import Session, session


@contextmanager
def operator(keys: Path, broker: str, subscribe: tuple[str, ...] = (), most: int = 1000) -> Iterator[Session]:
    """As long as the block lasts; subscribe, most: as in `session`. `UnreachableError` if there is no link."""
    address, credentials = Address.parse(broker), Credentials(keys / "ca.pem", keys / "ops.pem", keys / "ops.key")
    with session(f"ops-{uuid.uuid4()}", credentials, (address.host, address.port), subscribe, most) as opened:
        yield opened
