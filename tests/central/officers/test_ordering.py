"""Orders at the centre: numbered, signed, noted, sent (R29, R33, R33b)."""

from __future__ import annotations

import json
import multiprocessing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from central.ingest.orders import sign_order
from privacy.records.jws import sha256_hex
from privacy.records.order import verify_order
from provisioning.identity import command_keys
from tests.support.access_log import last
from tests.support.broker import PATIENCE, Broker, Centre, until
from tests.support.clips import Node, made, refused
from tests.support.clips import example as filled


@cache
def example() -> str:
    return filled("order")


def order(tmp_path: Path, **changes: Any) -> Path:
    draft = json.loads(example()) | changes
    path = tmp_path / "order.json"
    path.write_text(json.dumps(draft))
    return path


def signed(keys: Path, source: Path, *words: str) -> bytes:
    made("sign", "order", source, "--keys", keys, "--as", "officer-1", *words, "-o", source.with_suffix(".jws"))
    return source.with_suffix(".jws").read_bytes()


def test_an_order_is_numbered_signed_and_noted(keys: Path, node: Node, tmp_path: Path) -> None:
    """R29, R33b: the node's own check takes it; the ledger and the access log have it."""
    orders = [verify_order(signed(keys, order(tmp_path)), command_keys(node.layout), "city", "stop-1") for _ in range(3)]
    assert [one.number for one in orders] == [1, 2, 3]
    assert (orders[0].act, orders[0].performed, orders[0].offence[:3]) == ("hold", "officer-1", "rån")
    token = signed(keys, order(tmp_path, number=7))
    assert (keys / "orders/city/stop-1/00000007.jws").read_bytes() == token
    assert (last(keys).facts["number"], last(keys).facts["sha256"]) == (7, sha256_hex(token))
    assert verify_order(signed(keys, order(tmp_path)), command_keys(node.layout), "city", "stop-1").number == 8


def test_a_number_is_never_used_twice(keys: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.jws"
    signed(keys, order(tmp_path, number=2))
    for number in (1, 2, 0, -1, "3"):
        words = [order(tmp_path, number=number), "--keys", keys, "--as", "officer-1", "-o", target]
        refused(5, "order: number", "sign", "order", *words)
    assert not target.exists()
    assert [path.name for path in (keys / "orders").rglob("*.jws")] == ["00000002.jws"]


def sign_some(source: Path, keys: Path, start: Any, numbers: Any) -> None:
    """A process that signs three orders as soon as all are ready."""
    start.wait(PATIENCE * 20)
    for _ in range(3):
        numbers.put(sign_order(source, keys, "officer-1", list)[0].number)


def test_several_who_sign_at_once_get_their_own_numbers(keys: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, numbers, source = context.Barrier(4), context.Queue(), order(tmp_path)
    signing = [context.Process(target=sign_some, args=(source, keys, start, numbers)) for _ in range(4)]
    for process in signing:
        process.start()
    assert sorted(numbers.get(timeout=PATIENCE * 30) for _ in range(12)) == list(range(1, 13))
    for process in signing:
        process.join(PATIENCE * 20)
        assert process.exitcode == 0


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"decided": "Officer 1"}, 2, "decided: must be another person"),
        ({"performed": "Anna Ek"}, 5, "must be two people"),
        ({"performed": "eva-ek"}, 5, "performed: must be the officer who signs, officer-1 (got 'eva-ek')"),
        ({"offence": ""}, 5, "offence: a crime is named"),
        ({"act": "burn"}, 5, "order: act: invalid enum value 'burn'"),
        ({"site": "../city"}, 5, "order: site"),
        ({"until": "2020-01-01T00:00:00Z"}, 5, "until: must be after issued"),
        ({"reason": "x"}, 5, "unknown field `reason`"),
    ],
)
def test_what_is_no_order_is_not_signed(keys: Path, tmp_path: Path, changes: dict[str, Any], code: int, said: str) -> None:
    """R33, R33b: refused at the desk, and no number is used up."""
    target = tmp_path / "x.jws"
    refused(code, said, "sign", "order", order(tmp_path, **changes), "--keys", keys, "--as", "officer-1", "-o", target)
    assert not target.exists()
    signed(keys, order(tmp_path))
    assert [path.name for path in (keys / "orders").rglob("*.jws")] == ["00000001.jws"]


def test_who_may_not_order_neither_signs_nor_sends(keys: Path, tmp_path: Path) -> None:
    source, store = order(tmp_path), tmp_path / "store"
    store.mkdir()
    refused(6, "may not order", "sign", "order", source, "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "x.jws")
    signed(keys, source)
    words = ["send", keys, "city/stop-1", "order", "--file", source.with_suffix(".jws"), "--store", store]
    refused(6, "may not order", *words, "--as", "eva-ek")
    assert last(keys).kind == "refused"
    assert not list(store.iterdir())


def test_an_order_goes_to_broker_and_store(keys: Path, centre: Centre, node: Node, tmp_path: Path) -> None:
    """Retained, so that a node that is away finds it; and as a file from where the ingest answers uploads with it."""
    token, store = signed(keys, order(tmp_path)), tmp_path / "store"
    store.mkdir()
    broker = Broker(tmp_path / "broker", centre)
    broker.start()
    words = ["send", keys, "city/stop-1", "order", "--file", tmp_path / "order.jws", "--as", "officer-1", "--store", store]
    try:
        said = json.loads(made(*words, "--broker", f"127.0.0.1:{broker.port}", "--json"))
        tls = node.layout.credentials / "tls.pem"
        with broker.ear("lykta/v1/city/stop-1/order/#", as_certificate=tls) as heard:
            until(heard, "the node hears it though it came later")
            [message] = heard()
    finally:
        broker.stop()
    assert (message.topic, message.retain, message.payload) == ("lykta/v1/city/stop-1/order/1", True, token.decode())
    place = store / "city/stop-1/orders/00000001.jws"
    assert said == {
        "schema": "lykta-central.send/1", "number": 1, "topic": "lykta/v1/city/stop-1/order/1", "file": str(place)
    }  # fmt: skip
    assert place.read_bytes() == token
    assert (last(keys).kind, last(keys).facts["to"]) == ("send", f"broker 127.0.0.1:{broker.port}, store {store}")
    made(*words)
    place.write_bytes(b"another")
    refused(5, "another order has this number", *words)


def test_an_order_is_not_sent_astray(keys: Path, tmp_path: Path) -> None:
    signed(keys, order(tmp_path))
    made("keygen", tmp_path / "other")
    file = tmp_path / "order.jws"
    words = ["--as", "officer-1", "--file", file, "--store"]
    refused(5, "is for city/stop-1", "send", keys, "city/stop-2", "order", *words, tmp_path)
    refused(5, "not trusted here", "send", tmp_path / "other", "city/stop-1", "order", "--file", file, "--store", tmp_path)
    refused(2, "no such folder", "send", keys, "city/stop-1", "order", *words, tmp_path / "none")
    refused(2, "--broker or --store are needed", "send", keys, "city/stop-1", "order", *words[:-1])
    refused(2, "--broker is needed", "send", keys, "city/stop-1", "ack")
    assert not (tmp_path / "city").exists()
