"""The AsyncAPI 3.0 document of a node: each topic with direction, retention and payload.

Source: AsyncAPI 3.0.0; MQTT operation bindings 0.2.0.
"""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec

from agent.envelope import Envelope, Sent
from agent.messages import PREFIX, Body, Message
from central.fleet.contract.schemas import PEM, RECORDS, Json, Record, portable, rewritten

_QOS = 1
_SCHEMAS = "#/components/schemas/"
_PARAMETERS = {
    "site": "the municipality or district: a-z, 0-9 and hyphens",
    "node": "the node within the site: a-z, 0-9 and hyphens",
    "what": "config, basis or view",
    "unit": "tls, or the unit whose key it is: camera, io, uplink, retention",
    "name": "name of the alarm or of the command",
    "group": "group of numbers",
    "clip": "id of the clip (UUIDv7)",
    "number": "number of the order",
    "id": "id of the command",
}


def document() -> Json:
    """The whole document, as JSON."""
    sent = {kind.__name__: kind for kind in get_args(Body)}
    channels = {name: _channel(kind.route.topic, name) for name, kind in sent.items()}
    channels |= {_wanted(name): _channel(record.topic, _wanted(name)) for name, record in RECORDS.items()}
    channels["CertificateDesired"] = _channel(PEM, "CertificateDesired")
    operations = {f"send{name}": _operation("send", name, retain=kind.route.retain) for name, kind in sent.items()}
    operations |= {
        f"receive{_wanted(name)}": _operation("receive", _wanted(name), retain=record.retain) for name, record in RECORDS.items()
    }
    operations["receiveCertificateDesired"] = _operation("receive", "CertificateDesired", retain=True)
    return {
        "asyncapi": "3.0.0",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": {"broker": _server()},
        "channels": channels,
        "operations": operations,
        "components": _components(sent),
    }


def version() -> int:
    """The version of the contract: of the envelope, and in every topic."""
    number: int = int(PREFIX.rpartition("/v")[2])
    return number


def _info() -> Json:
    return {
        "title": "Lykta node",
        "version": str(version()),
        "description": "A camera node at a bus stop, seen from its MQTT broker: it sends what it says and receives what it reads. "
        "Messages are JSON. Records that a node reads are signed: a JWS in compact form (ES256) whose payload has the schema "
        "named by `x-payload`. A reader must ignore fields and message types that it does not know.",
        "license": {"name": "Apache-2.0"},
    }


def _server() -> Json:
    return {
        "host": "broker.example:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5.0",
        "description": "Mutual TLS. A node's name, site/node, is the common name of its certificate.",
        "security": [{"$ref": "#/components/securitySchemes/certificate"}],
    }


def _channel(tail: str, message: str) -> Json:
    address = f"{PREFIX}/{{site}}/{{node}}/{tail}"
    return {
        "address": address,
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in re.findall(r"\{(\w+)\}", address)},
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def _operation(action: str, channel: str, *, retain: bool) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{channel}"}],
        "bindings": {"mqtt": {"qos": _QOS, "retain": retain, "bindingVersion": "0.2.0"}},
    }


def _components(sent: dict[str, type[Sent]]) -> Json:
    kinds = [Envelope, *sent.values(), *(record.payload for record in RECORDS.values())]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMAS + "{name}")
    messages = {name: _message(kind) for name, kind in sent.items()}
    messages |= {_wanted(name): _signed(name, record) for name, record in RECORDS.items()}
    messages["CertificateDesired"] = {
        "summary": "The certificate for a unit's new key, with those of its issuers.",
        "contentType": "application/pem-certificate-chain",
        "payload": {"type": "string"},
    }
    return {
        "schemas": rewritten(portable(schemas), _draft7),
        "messages": messages,
        "parameters": {name: {"description": text} for name, text in _PARAMETERS.items()},
        "securitySchemes": {"certificate": {"type": "X509"}},
    }


def _message(kind: type[Sent]) -> Json:
    summary, _, more = (kind.__doc__ or "").partition("\n\n")
    payload: Json = {
        "type": "object",
        "required": [*Message.__struct_fields__],
        "properties": {"envelope": {"$ref": f"{_SCHEMAS}Envelope"}, "body": {"$ref": f"{_SCHEMAS}{kind.__name__}"}},
        "additionalProperties": False,
    }
    return {"summary": " ".join(summary.split()), **({"description": more} if more else {}), "payload": payload}


def _signed(name: str, record: Record) -> Json:
    return {
        "summary": f"A signed {name}; typ of the JWS: {record.typ}.",
        "contentType": "application/jose",
        "payload": {"type": "string", "x-payload": f"{_SCHEMAS}{record.payload.__name__}"},
    }


def _wanted(name: str) -> str:
    return f"{name.capitalize()}Desired" if RECORDS[name].topic.endswith("/desired") else name.capitalize()


def _draft7(node: Json) -> Json:
    """The words of JSON Schema draft 7, on which AsyncAPI's own schema format is built."""
    if "prefixItems" in node:
        node = {**{key: value for key, value in node.items() if key != "prefixItems"}, "items": node["prefixItems"]}
        node.pop("additionalItems", None)
    return node


def text(document: Any) -> str:
    """As it is written into a file."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"
