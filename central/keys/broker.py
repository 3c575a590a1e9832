"""mosquitto's configuration: mutual TLS, each node limited to its own topics and name, revoked certificates refused.

There are two listeners. For nodes, the certificate's name is the user name and the client id, so no node can take over another's
session, whatever id it asks for. For operators, the client id is free, so several can connect with one certificate. Somebody who
reaches that listener with a node's certificate could end a session by its id; so it must be at an address that no node reaches.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from central.keys.bundle import Address
from central.keys.key_folder import read
from privacy.files import CLOSED, OPEN, PRIVATE, PUBLIC, make_folder, place
from privacy.foreign import LONGEST

NODE_READS = ("cmd/#", "order/#", "config/desired", "basis/desired", "view/desired", "cert/+/desired")
"""Topics below its own name that a node may read; it may write all of them."""
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
    reads = "".join(f"pattern read lykta/v1/%u/{tail}\n" for tail in NODE_READS)
    return f"user ops\ntopic readwrite lykta/v1/#\n\npattern write lykta/v1/%u/#\n{reads}"


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
