"""mosquitto's configuration: mutual TLS, each client limited to the topics of its role, revoked certificates refused.

There are two listeners. For nodes, the certificate's name is the user name and the client id, so no node can take over another's
session, whatever id it asks for. For operators, the client id is free, so several can connect with one certificate. Somebody who
reaches that listener with a node's certificate could end a session by its id; so it must be at an address that no node reaches.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from msgspec import Struct

from agent.messages import PREFIX, Body
from central.keys.bundle import Address
from central.keys.key_folder import read
from privacy.files import CLOSED, OPEN, PRIVATE, PUBLIC, make_folder, place
from privacy.foreign import LONGEST

NODE_READS = ("cmd/#", "order/#", "config/desired", "basis/desired", "view/desired", "cert/+/desired")
"""Topics below its own name that a node may read."""
_SAID = {re.sub(r"[^/]*\{\w+\}[^/]*", "+", kind.route.topic) for kind in get_args(Body)}
NODE_WRITES = tuple(sorted(one for one in _SAID if one == (whole := one.rpartition("/")[0] + "/+") or whole not in _SAID))
"""Topics below its own name that a node may write: those of its messages. So it cannot take back an order or a record."""
ROLES = {
    "ops": "read and write everything: records, orders, renewals",
    "desk": "read what nodes say, and send commands",
    "collector": "read what nodes say",
    "console": "read what nodes say",
}
"""Clients of the centre, by the common name of their certificate, and what each may do."""
_NEEDED = ("ca.pem", "crl.pem", "broker.pem", "broker.key")
_PACKET = LONGEST + 1024
"""Most bytes of an MQTT packet: the longest record or message, with topic and properties."""
_INFLIGHT = 20
_QUEUED, _QUEUED_BYTES = 100_000, 64 * 1024 * 1024
"""Most messages and bytes queued for one client that is away or slow: as many messages as a node's outbox holds."""
_KEPT = "14d"


class Listeners(Struct, frozen=True):
    """The addresses where mosquitto listens, for nodes and for operators."""

    nodes: Address
    operators: Address


def access_list() -> str:
    """mosquitto's ACL file. `%u` is the certificate's common name, "site/node" for a node."""
    said = "".join(f"topic read {PREFIX}/+/+/{tail}\n" for tail in NODE_WRITES)
    readers = "".join(f"user {role}\n{said}\n" for role in ("collector", "console"))
    desk = f"user desk\n{said}topic write {PREFIX}/+/+/cmd/+\n\n"
    writes = "".join(f"pattern write {PREFIX}/%u/{tail}\n" for tail in NODE_WRITES)
    reads = "".join(f"pattern read {PREFIX}/%u/{tail}\n" for tail in NODE_READS)
    return f"user ops\ntopic readwrite {PREFIX}/#\n\n{readers}{desk}{writes}{reads}"


def configuration(keys: Path, folder: Path, listeners: Listeners, user: str = "") -> str:
    """mosquitto.conf as text.

    keys     folder of ca.pem, crl.pem, broker.pem and broker.key
    folder   folder of the ACL file and of mosquitto's database
    user     the user that mosquitto changes to, "" for its default
    """
    return (
        _listener(keys, listeners.nodes, "use_username_as_clientid true\n")
        + _listener(keys, listeners.operators, "use_username_as_clientid false\n")
        + f"allow_anonymous false\nacl_file {folder}/broker.acl\n"
        f"max_packet_size {_PACKET}\nmessage_size_limit {LONGEST}\n"
        f"max_inflight_messages {_INFLIGHT}\nmax_queued_messages {_QUEUED}\nmax_queued_bytes {_QUEUED_BYTES}\n"
        f"persistence true\npersistence_location {folder}/\nautosave_interval 60\npersistent_client_expiration {_KEPT}\n"
        + (f"user {user}\n" if user else "")
    )


def write(keys: Path, folder: Path, listeners: Listeners, user: str = "") -> Path:
    """Write broker.conf and broker.acl into `folder`; returns the path of broker.conf. `EnrolmentError` if a key is missing."""
    for name in _NEEDED:
        read(keys / name)
    make_folder(folder.parent, OPEN)
    make_folder(folder, CLOSED)
    place(folder / "broker.acl", access_list().encode(), mode=PRIVATE)
    place(folder / "broker.conf", configuration(keys.resolve(), folder.resolve(), listeners, user).encode(), mode=PUBLIC)
    return folder / "broker.conf"


def _listener(keys: Path, at: Address, more: str) -> str:
    return (
        f"listener {at.port} {at.host}\ncafile {keys}/ca.pem\ncrlfile {keys}/crl.pem\n"
        f"certfile {keys}/broker.pem\nkeyfile {keys}/broker.key\nrequire_certificate true\nuse_identity_as_username true\n{more}\n"
    )
