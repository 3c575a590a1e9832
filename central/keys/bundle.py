"""A node's bundle: the files below etc/lykta that give it its identity and its trust in this centre.

Until there is enrolment, the units' keys are made here and are part of the bundle; later they are made on the node (R41).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from central.keys.certificates import issue, issuer
from central.keys.key_folder import read, trusted_keys
from central.keys.recipients import current
from privacy.errors import UsageError
from privacy.files import OPEN, PUBLIC, make_folder, place
from privacy.records.jws import key_set, sign
from privacy.records.recipients import signed_list

UNITS = ("camera", "io", "uplink", "retention")


@dataclass(frozen=True)
class Address:
    """HOST:PORT of a server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        host, _, port = text.rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
            raise UsageError(f"address: must be HOST:PORT (got {text!r})", "for instance broker.example.org:8883")
        return cls(host, int(port))


def parse_node_name(text: str) -> tuple[str, str]:
    """Site and node of "SITE/NODE", or `UsageError`. It is used as certificate name (at most 64 characters), topic and folder."""
    if len(text) > 64 or not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", text):
        raise UsageError(
            f"node: must be SITE/NODE, lower case, digits and hyphens, 64 at most (got {text!r})",
            "for instance linkoping-city/stop-12",
        )
    site, _, node = text.partition("/")
    return site, node


def bundle(keys: Path, node: str, root: Path, area: str, broker: Address, ingest: Address) -> Path:
    """Write root/etc/lykta for a node ("site/node"); returns that folder. `UsageError` if it holds keys: none are overwritten."""
    site, name = parse_node_name(node)
    if not 0 < len(area) < 64:
        raise UsageError(f"bundle: area: must have 1 to 63 characters (got {area!r})", "for instance City")
    etc = root / "etc/lykta"
    trust, credentials = etc / "trust", etc / "credentials"
    if (credentials / "tls.key").exists():
        raise UsageError(f"bundle: {credentials}: holds a node's keys already", "name a new --root")
    make_folder(trust, OPEN)
    make_folder(credentials)
    for unit in UNITS:
        issue(keys, credentials / unit, node, unit)
    issue(keys, credentials / "tls", node, "tls")
    _write_trust(keys, trust)
    place(etc / "lykta.toml", _configuration(site, name, area, broker, ingest).encode(), mode=PUBLIC)
    return etc


def refresh_trust(keys: Path, root: Path) -> Path:
    """Rewrite root/etc/lykta/trust, and nothing else, after a key was replaced or retired; returns that folder."""
    trust = root / "etc/lykta/trust"
    make_folder(trust, OPEN)
    _write_trust(keys, trust)
    return trust


def _write_trust(keys: Path, trust: Path) -> None:
    """ca.pem is written first, so that a reader can always verify the key sets."""
    place(trust / "ca.pem", read(keys / "ca.pem"), mode=PUBLIC)
    ca = issuer(keys)
    for name in ("basis", "command"):
        known = key_set(list(trusted_keys(keys, name).keys.values()))
        place(trust / f"{name}-keys.jws", sign(known, ca, f"lykta-{name}-keys"), mode=PUBLIC)
    place(trust / "recipients.txt", signed_list(tuple(current(keys)), ca), mode=PUBLIC)


def _configuration(site: str, node: str, area: str, broker: Address, ingest: Address) -> str:
    """lykta.toml with the settings that a node needs to start; `lykta config schema` lists all settings."""
    return (
        f"[node]\nsite = {json.dumps(site)}\nid = {json.dumps(node)}\narea = {json.dumps(area, ensure_ascii=False)}\n\n"
        f"[broker]\nhost = {json.dumps(broker.host)}\nport = {broker.port}\n\n"
        f"[ingest]\nhost = {json.dumps(ingest.host)}\nport = {ingest.port}\n"
    )
