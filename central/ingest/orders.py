"""Making and sending orders. Every signed order stays in KEYS/orders/<site>/<node>/: that is also how no number is used twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from central.keys.access_log import note
from central.keys.key_folder import listed, signer, write
from central.keys.officers import admit, two_people
from central.keys.review import Objection, review
from central.keys.signing import decoded, read_json
from central.store.choose import open_store
from privacy.errors import RecordError, UsageError
from privacy.files import OPEN, locked, make_folder, on_disk
from privacy.records.journal import Fact
from privacy.records.jws import sha256_hex, sign, token_id
from privacy.records.order import ORDER, Order, verify_order


def sign_order(source: Path, keys: Path, name: str | None, settle: Callable[[list[Objection]], None]) -> tuple[Order, bytes]:
    """The order and its signed form, noted in the access log and kept in the ledger before it leaves this function.

    The file may leave out `number` (the node's next one), `performed` (the officer who signs) and `issued` (now).
    settle   gets the objections to it, and raises where one stands
    """
    written = decoded("order", read_json("order", source), dict[str, Any])
    draft: dict[str, Any] = {"number": 1, "performed": "…", "issued": _now(), **written}
    # Checked once before anybody is asked who they are: its site and node become a folder.
    place_of = decoded("order", msgspec.json.encode(draft), Order)
    settle(review("order", place_of, _now()))
    officer = admit(keys, name, "order", {"node": f"{place_of.site}/{place_of.node}", "act": place_of.act})
    draft |= {"performed": written.get("performed", officer.name)}
    two_people(str(draft.get("decided", "")), officer.name)
    if draft["performed"] != officer.name:
        raise RecordError(f"order: performed: must be who signs, {officer.name} (got {draft['performed']!r})", "leave it out")
    folder = keys / "orders" / place_of.site / place_of.node
    make_folder(folder, OPEN)
    # One order at a time for a node.
    with locked(folder):
        draft["number"] = _number(folder, written.get("number"))
        order = decoded("order", msgspec.json.encode(draft), Order)
        token = sign(order, signer(keys, "command"), ORDER)
        note(keys, "order", _facts(order, token), officer)
        write(folder / f"{order.number:08}.jws", token, 0o644)
    return order, token


def send_order(source: Path, keys: Path, node: tuple[str, str], name: str | None, to: str) -> tuple[Order, bytes]:
    """The signed order from a file, if it is of these keys and for that node; noted in the access log as sent.

    to   where it goes, in words
    """
    token = read_json("order", source).strip()
    officer = admit(keys, name, "order", {"node": "/".join(node), "act": "send"})
    order = verify_order(token, listed(keys, "command"), *node)
    note(keys, "send", {**_facts(order, token), "to": to[:200]}, officer)
    return order, token


def deposit(where: str, order: Order, token: bytes) -> str:
    """Put an order where the ingest finds it; the same one may be put twice, another with its number never."""
    if "://" not in where and not Path(where).is_dir():
        raise UsageError(f"send: store: {where}: no such folder", "name the store that the ingest keeps")
    store, key = open_store(where), f"{order.site}/{order.node}/orders/{order.number:08}.jws"
    if token_id(store.get(key) or token) != token_id(token):
        raise RecordError(f"send: {where}/{key}: another order has this number", "a number is never used twice")
    with on_disk(f"send: {where}"):
        store.put(key, token)
    return f"{where}/{key}"


def example(site: str, node: str) -> dict[str, Any]:
    """An order to edit: number, issued and performed come with the signature."""
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
    """What the access log says of an order."""
    return {
        "node": f"{order.site}/{order.node}",
        "number": order.number,
        "order": order.act,
        "ground": order.ground,
        "case": order.case,
        "decided": order.decided,
        "sha256": sha256_hex(token),
    }


def _number(folder: Path, wanted: object) -> int:
    """The next number, or the wanted one if it comes after all that were used."""
    last = max((int(path.stem) for path in folder.glob("*.jws")), default=0)
    if wanted is None:
        return last + 1
    if not isinstance(wanted, int) or wanted <= last:
        raise RecordError(f"order: number: must come after {last} (got {wanted})", "leave it out: the next one is taken")
    return wanted


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
