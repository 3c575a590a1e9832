"""Which changes of the contract break those who read a node's messages or write its records (decision 0058).

Within a version a reader meets nothing but new fields and new types of messages, and a writer's records stay valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from central.fleet.contract.schemas import Json

_WORDS = {"title", "description", "default", "summary", "examples"}
_BY_NAME = {"properties", "required", "enum", "anyOf"}


def breaking(old: Json, new: Json) -> list[str]:
    """What of `old` no longer holds in `new`, two AsyncAPI documents; empty if all of it does."""
    found: list[str] = []
    for name, was in old["operations"].items():
        now = new["operations"].get(name)
        if now is None:
            found.append(f"{name}: is gone")
        else:
            found += [f"{name}: {one}" for one in _operation(_Whole(old, was), _Whole(new, now))]
    return found


class _Whole:
    """One operation of a document."""

    def __init__(self, document: Json, operation: Json) -> None:
        self._document, self._operation = document, operation
        self.reader = operation["action"] == "send"
        channel: Json = self.at(operation["channel"]["$ref"])
        message: Json = self.at(self.at(operation["messages"][0]["$ref"])["$ref"])
        payload: Json = message["payload"]
        self.facts = {
            "action": operation["action"],
            "address": channel["address"],
            "qos and retain": operation["bindings"]["mqtt"],
            "content type": message.get("contentType", document["defaultContentType"]),
        }
        self.payload = self.resolved({"$ref": payload["x-payload"]} if "x-payload" in payload else payload)

    def at(self, where: str) -> Any:
        node: Any = self._document
        for step in where.removeprefix("#/").split("/"):
            node = node[step]
        return node

    def resolved(self, node: Any) -> Any:
        """The schema with its references replaced by what they name; our types do not contain themselves."""
        if isinstance(node, dict):
            return self.resolved(self.at(node["$ref"])) if "$ref" in node else {k: self.resolved(v) for k, v in node.items()}
        return [self.resolved(one) for one in node] if isinstance(node, list) else node


def _operation(old: _Whole, new: _Whole) -> Iterator[str]:
    for name, was in old.facts.items():
        if new.facts[name] != was:
            yield f"{name}: was {was}, is {new.facts[name]}"
    yield from _schema(old.payload, new.payload, "payload", reader=old.reader)


def _schema(old: Any, new: Any, where: str, *, reader: bool) -> Iterator[str]:
    """reader: the other side reads, so that nothing unknown may come; otherwise it writes, and all that was valid stays so."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        if old != new:
            yield f"{where}: was {old}, is {new}"
        return
    yield from _properties(old.get("properties", {}), new.get("properties", {}), where, reader=reader)
    yield from _required({*old.get("required", ())}, {*new.get("required", ())}, where, reader=reader)
    for word in ("enum", "anyOf"):
        yield from _choice(old.get(word), new.get(word), f"{where}.{word}", reader=reader)
    for word in sorted((old.keys() | new.keys()) - _WORDS - _BY_NAME):
        yield from _schema(old.get(word), new.get(word), f"{where}.{word}", reader=reader)


def _properties(old: Json, new: Json, where: str, *, reader: bool) -> Iterator[str]:
    for name, was in old.items():
        if name not in new:
            yield f"{where}.{name}: is gone"
        else:
            yield from _schema(was, new[name], f"{where}.{name}", reader=reader)


def _required(old: set[str], new: set[str], where: str, *, reader: bool) -> Iterator[str]:
    for name in sorted(old - new if reader else new - old):
        yield f"{where}.{name}: {'is no longer always there' if reader else 'is now required'}"


def _choice(old: Any, new: Any, where: str, *, reader: bool) -> Iterator[str]:
    """The values or forms that are possible; None: any."""
    if old == new:
        return
    if not isinstance(old, list) or not isinstance(new, list):
        yield f"{where}: was {old}, is {new}"
        return
    for one in (one for one in new if one not in old) if reader else (one for one in old if one not in new):
        yield f"{where}: {one} {'is new' if reader else 'is gone'}"
