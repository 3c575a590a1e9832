"""mosquitto's configuration: mutual TLS, each node below its own topics and under its own name, revoked certificates refused.

Two listeners. At the nodes' the certificate's name is user name and client id: no node can take over another's session, whatever id
it asks for. At the operators' the client id is free, so that several of them can listen and send with one certificate; whoever
reaches that listener with a node's certificate could end a session by its id, so it belongs on an address that no node reaches.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from central.keys.bundle import Address
from central.keys.key_folder import read
from privacy.files import CLOSED, OPEN, PRIVATE, PUBLIC, make_folder, place
from privacy.foreign import LONGEST

NODE_READS = ("cmd/#", "order/#", "config/desired", "basis/desired", "view/desired", "cert/+/desired")
"""What a node may read, below its own name; it may write anything there."""
_NEEDED = ("ca.pem", "crl.pem", "broker.pem", "broker.key")
_PACKET = LONGEST + 1024
"""The longest record or message, with topic and properties."""
_INFLIGHT = 20
_QUEUED, _QUEUED_BYTES = 100_000, 64 * 1024 * 1024
"""Of one client that is away or slow: all that a node keeps for us at most (100,000 messages)."""
_KEPT = "14d"


class Listeners(Struct, frozen=True):
    """Where mosquitto listens, for nodes and for operators."""

    nodes: Address
    operators: Address


def access_list() -> str:
    """%u is the certificate's common name: "site/node" of a node."""
    reads = "".join(f"pattern read lykta/v1/%u/{tail}\n" for tail in NODE_READS)
    return f"user ops\ntopic readwrite lykta/v1/#\n\npattern write lykta/v1/%u/#\n{reads}"


def configuration(keys: Path, folder: Path, listeners: Listeners, user: str = "") -> str:
    """keys: where ca.pem, crl.pem, broker.pem and broker.key lie; folder: of access list and persistence; user: of the process."""
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
    """Put broker.conf and broker.acl into the folder; the path of the first."""
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
