"""17.1: the MQTT contract as documents: made from the types, valid, complete, and never broken within a version."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pydantic
import pytest
from asyncapi3.models.asyncapi import AsyncAPI3

from agent.messages import Body
from agent.uplink.downlink import SUBSCRIBED
from central.fleet.contract import asyncapi, schemas
from central.fleet.contract.changes import breaking
from central.keys.broker import NODE_READS
from provisioning.layout import CODE
from tests.support.nodes import BIN

FOLDER = CODE / "docs/mqtt"
RELEASED = FOLDER / "released" / f"asyncapi-v{asyncapi.version()}.json"


def central(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "lykta-central", *words], capture_output=True, text=True, check=False)


# -- the documents -----------------------------------------------------------------------------------------------------


def test_the_documents_are_those_that_the_types_make(tmp_path: Path) -> None:
    """`make schema` writes them; whoever changes a message's class changes them in the same commit."""
    assert central("schema", "--output", tmp_path / "mqtt").returncode == 0
    made = {path.name: path.read_text() for path in (tmp_path / "mqtt").iterdir()}
    assert made == {path.name: path.read_text() for path in FOLDER.glob("*.json") if path.name != "examples.json"}


def test_one_document_is_printed() -> None:
    shown = central("schema", "message")
    assert json.loads(shown.stdout) == schemas.files()["message"]
    assert json.loads(central("schema").stdout)["asyncapi"] == "3.0.0"
    unknown = central("schema", "nonsense")
    assert (unknown.returncode, "known: asyncapi, message" in unknown.stderr) == (2, True)


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")
def test_the_document_is_asyncapi() -> None:
    found = asyncapi.document()
    AsyncAPI3.model_validate(found)
    found["operations"]["sendState"]["action"] = "shout"
    with pytest.raises(pydantic.ValidationError, match="action"):
        AsyncAPI3.model_validate(found)


def test_every_reference_leads_somewhere() -> None:
    """Of channels, messages, parameters and schemas, the payloads of signed records included."""
    found = asyncapi.document()
    seen: list[str] = []
    schemas.rewritten(found, lambda one: seen.extend(one[key] for key in ("$ref", "x-payload") if key in one) or one)
    for where in seen:
        node: Any = found
        for step in where.removeprefix("#/").split("/"):
            node = node[step]
    assert len(seen) > 100


@pytest.mark.parametrize("name", schemas.files())
def test_each_schema_is_one_and_its_patterns_are_ecmascript(name: str) -> None:
    schema = schemas.files()[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    patterns: list[str] = []
    schemas.rewritten(schema, lambda one: patterns.append(one["pattern"]) or one if isinstance(one.get("pattern"), str) else one)
    assert not [one for one in patterns if "\\A" in one or "\\Z" in one or "(?!" in one]


def test_all_that_a_node_sends_and_reads_is_in_the_contract() -> None:
    """Every class of messages, and every topic that node and broker's access list know."""
    channels = asyncapi.document()["channels"]
    tails = {one["address"].partition("{node}/")[2] for one in channels.values()}
    assert {kind.route.topic for kind in get_args(Body)} <= tails
    read = {record.topic for record in schemas.RECORDS.values()} | {schemas.PEM}
    wildcards = {one.replace("{name}", "#").replace("{number}", "#").replace("{unit}", "+") for one in read}
    assert wildcards == {*SUBSCRIBED} == {*NODE_READS}
    assert len(channels) == len(get_args(Body)) + len(read)


def test_the_examples_are_messages_of_their_topics() -> None:
    """Messages of a demo, one of each type that it sends."""
    examples = json.loads((FOLDER / "examples.json").read_text())
    validator = jsonschema.Draft202012Validator(schemas.files()["message"])
    for one in examples:
        validator.validate(one["payload"])
    assert {"state", "describe", "health", "help", "presence", "alarm", "clip", "command"} <= {
        one["payload"]["body"]["type"] for one in examples
    }
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(examples[0]["payload"] | {"body": {"type": "state"}})


def test_an_integrator_compares_with_the_version_he_built_on(tmp_path: Path) -> None:
    """`--against`: nothing to say of the present one, each break of a changed one, one sentence for anything else."""
    same = central("schema", "--against", FOLDER / "asyncapi.json")
    assert (same.returncode, same.stdout) == (0, "")
    older = asyncapi.document()
    _schema(older, "Help")["properties"]["floor"] = {"type": "integer"}
    path = tmp_path / "older.json"
    path.write_text(json.dumps(older))
    gone = central("schema", "--against", path)
    assert (gone.returncode, gone.stdout) == (1, "sendHelp: payload.body.floor: is gone\n")
    for odd in ("[" * 5000, "[]", "{}", '{"operations":{"sendHelp":7}}'):
        path.write_text(odd)
        refused = central("schema", "--against", path)
        assert refused.returncode in (2, 5)
        assert refused.stderr.startswith("error: ")


# -- changes -----------------------------------------------------------------------------------------------------------


def test_nothing_that_was_released_is_broken() -> None:
    """A reader of this version goes on reading: what breaks it needs a new version in `agent.messages.PREFIX` and the envelope."""
    assert breaking(json.loads(RELEASED.read_text()), asyncapi.document()) == []


def test_the_number_of_the_version_is_the_same_everywhere() -> None:
    envelope = schemas.files()["message"]["$defs"]["Envelope"]
    assert envelope["properties"]["v"] == {"enum": [asyncapi.version()]}
    assert asyncapi.document()["info"]["version"] == str(asyncapi.version())


def _schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def _without_operation(one: dict[str, Any]) -> None:
    del one["operations"]["sendHelp"]


def _other_topic(one: dict[str, Any]) -> None:
    one["channels"]["Help"]["address"] = "lykta/v1/{site}/{node}/help"


def _retained(one: dict[str, Any]) -> None:
    one["operations"]["sendHelp"]["bindings"]["mqtt"]["retain"] = True


def _field_gone(one: dict[str, Any]) -> None:
    del _schema(one, "Help")["properties"]["press"]


def _field_optional(one: dict[str, Any]) -> None:
    _schema(one, "Help")["required"].remove("press")


def _other_type(one: dict[str, Any]) -> None:
    _schema(one, "Help")["properties"]["press"]["type"] = "integer"


def _may_be_null(one: dict[str, Any]) -> None:
    _schema(one, "Help")["properties"]["press"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def _new_value(one: dict[str, Any]) -> None:
    _schema(one, "Help")["properties"]["action"]["enum"].append("cancelled")


def _bound_gone(one: dict[str, Any]) -> None:
    del _schema(one, "ClipNote")["properties"]["bytes"]["minimum"]


def _record_asks_more(one: dict[str, Any]) -> None:
    _schema(one, "Command")["properties"]["reason"] = {"type": "string"}
    _schema(one, "Command")["required"].append("reason")


def _record_takes_less(one: dict[str, Any]) -> None:
    _schema(one, "Order")["properties"]["act"]["enum"].remove("wipe")


def _inner_field_gone(one: dict[str, Any]) -> None:
    del _schema(one, "ChainHead")["properties"]["sha256"]


BREAKING = [
    _without_operation,
    _other_topic,
    _retained,
    _field_gone,
    _field_optional,
    _other_type,
    _may_be_null,
    _new_value,
    _bound_gone,
    _record_asks_more,
    _record_takes_less,
    _inner_field_gone,
]


@pytest.mark.parametrize("change", BREAKING, ids=lambda one: one.__name__)
def test_a_change_that_breaks_a_reader_or_writer_is_found(change: Any) -> None:
    old = asyncapi.document()
    new = copy.deepcopy(old)
    change(new)
    found = breaking(old, new)
    assert len({line.partition(":")[0] for line in found}) == 1, "of one message alone"


def test_what_breaks_nobody_is_free() -> None:
    """New fields and types of messages, fewer values to read, more to write, other words."""
    old = asyncapi.document()
    new = copy.deepcopy(old)
    _schema(new, "Help")["properties"]["floor"] = {"type": "integer"}
    _schema(new, "Help")["required"].append("floor")
    _schema(new, "Help")["properties"]["action"]["enum"].remove("unanswered")
    _schema(new, "Help")["description"] = "other words"
    _schema(new, "Order")["properties"]["act"]["enum"].append("update")
    _schema(new, "Command")["properties"]["comment"] = {"type": "string"}
    new["operations"]["sendMore"] = new["operations"]["sendHelp"]
    assert breaking(old, new) == []
