"""Signs and sends orders. Every signed order is kept in KEYS/orders/<site>/<node>/, so that no number is used twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from central.keys.access_log import log_access
from central.keys.key_folder import signer, trusted_keys, write
from central.keys.officers import authorize, check_two_people
from central.keys.review import Objection, review
from central.keys.signing import decode_record, read_json
from central.store.choose import open_store
from privacy.errors import RecordError, UsageError
from privacy.files import OPEN, locked, make_folder, on_disk
from privacy.records.journal import Fact
from privacy.records.jws import sha256_hex, sign, token_id
from privacy.records.order import ORDER, Order, verify_order


def sign_order(source: Path, keys: Path, name: str | None, on_objections: Callable[[list[Objection]], None]) -> tuple[Order, bytes]:
    """Sign an order from its JSON file; returns it and its signed text. It is then in the access log and in KEYS/orders.

    The file may leave out `number` (the node's next one), `performed` (the officer who signs) and `issued` (now).
    name            the officer; None or empty: the only one with a key in KEYS
    on_objections   called with the objections; raises if the order must not be signed
    """
    written = decode_record("order", read_json("order", source), dict[str, Any])
    draft: dict[str, Any] = {"number": 1, "performed": "…", "issued": _now(), **written}
    # Checked before anything else: site and node become the name of a folder.
    checked = decode_record("order", msgspec.json.encode(draft), Order)
    on_objections(review("order", checked, _now()))
    officer = authorize(keys, name, "order", {"node": f"{checked.site}/{checked.node}", "act": checked.act})
    draft |= {"performed": written.get("performed", officer.name)}
    check_two_people(str(draft.get("decided", "")), officer.name)
    if draft["performed"] != officer.name:
        raise RecordError(
            f"order: performed: must be the officer who signs, {officer.name} (got {draft['performed']!r})", "leave it out"
        )
    folder = keys / "orders" / checked.site / checked.node
    make_folder(folder, OPEN)
    # One order at a time for a node.
    with locked(folder):
        draft["number"] = _next_number(folder, written.get("number"))
        order = decode_record("order", msgspec.json.encode(draft), Order)
        token = sign(order, signer(keys, "command"), ORDER)
        log_access(keys, "order", _facts(order, token), officer)
        write(folder / f"{order.number:08}.jws", token, 0o644)
    return order, token


def send_order(source: Path, keys: Path, node: tuple[str, str], name: str | None, to: str) -> tuple[Order, bytes]:
    """The signed order from a file, if these keys signed it for that node; the access log then has it as sent.

    to   where it is sent, as text for the access log
    """
    token = read_json("order", source).strip()
    officer = authorize(keys, name, "order", {"node": "/".join(node), "act": "send"})
    order = verify_order(token, trusted_keys(keys, "command"), *node)
    log_access(keys, "send", {**_facts(order, token), "to": to[:200]}, officer)
    return order, token


def put_in_store(where: str, order: Order, token: bytes) -> str:
    """Put an order into the ingest's store; returns where. May be repeated; `RecordError` if another order has its number."""
    if "://" not in where and not Path(where).is_dir():
        raise UsageError(f"send: store: {where}: no such folder", "name the ingest's store")
    store, key = open_store(where), f"{order.site}/{order.node}/orders/{order.number:08}.jws"
    if token_id(store.get(key) or token) != token_id(token):
        raise RecordError(f"send: {where}/{key}: another order has this number", "a number is never used twice")
    with on_disk(f"send: {where}"):
        store.put(key, token)
    return f"{where}/{key}"


def example(site: str, node: str) -> dict[str, Any]:
    """An example order to edit; `number`, `issued` and `performed` are added when it is signed."""
    since = _now() - timedelta(hours=1)
    return {
        "act": "hold",
        "site": site,
        "node": node,
        "ground": "crime",
        "offence": "rån, brottsbalken 8 kap. 5 §",
        "case": "K 123-26",
        "decided": "who decided",
        "until": since + timedelta(days=30),
        "since": since,
        "to": since + timedelta(minutes=30),
    }


def _facts(order: Order, token: bytes) -> dict[str, Fact]:
    """An order's facts for the access log."""
    return {
        "node": f"{order.site}/{order.node}",
        "number": order.number,
        "order": order.act,
        "ground": order.ground,
        "case": order.case,
        "decided": order.decided,
        "sha256": sha256_hex(token),
    }


def _next_number(folder: Path, wanted: object) -> int:
    """The next number, or the wanted one if it is greater than all used; `RecordError` otherwise."""
    last = max((int(path.stem) for path in folder.glob("*.jws")), default=0)
    if wanted is None:
        return last + 1
    if not isinstance(wanted, int) or wanted <= last:
        raise RecordError(f"order: number: must be greater than {last} (got {wanted})", "leave it out: the next number is used")
    return wanted


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
