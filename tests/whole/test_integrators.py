"""17.1: docs/MQTT.md. Its own commands, run with stock tools alone, take the centre's part for one node."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from central.fleet.contract.asyncapi import document
from provisioning.layout import CODE
from tests.support.broker import NAME, PATIENCE, Broker
from tests.support.nodes import Node, until

PAGE = (CODE / "docs/MQTT.md").read_text()
ID = "integrator-1"
TIMED_OUT = 27
"""Exit code of the mosquitto clients."""


def blocks(*sections: str) -> str:
    """The commands of sections of the page, in order."""
    found: list[str] = []
    for section in sections:
        _, _, rest = PAGE.partition(f"\n## {section}\n")
        found += re.findall(r"```bash\n(.*?)```", rest.split("\n## ")[0], re.DOTALL)
    assert len(found) >= len(sections)
    return "\n".join(found)


def bash(commands: str, folder: Path, broker: Broker) -> subprocess.CompletedProcess[str]:
    """Every command counts: the first that fails ends it."""
    settings = {"KEYS": str(broker.centre.folder), "NODE": NAME, "HOST": "127.0.0.1", "PORT": str(broker.operators), "ID": ID}
    settings |= {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    words = ["bash", "-e", "-u", "-o", "pipefail", "-c", commands]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=PATIENCE * 120, env=settings, check=False)


def short(commands: str) -> str:
    """The same, where no answer will come."""
    return commands.replace("-W 30 > answer.json", "-W 3 > answer.json")


def test_stock_tools_hear_a_node_and_command_it(whole: Node, broker: Broker, tmp_path: Path) -> None:
    """mosquitto clients, openssl and coreutils: the light is switched, and the same command is not obeyed again."""
    done = bash(blocks("Listen", "Send a command"), tmp_path, broker)
    assert done.returncode == 0, done.stderr
    answer = json.loads((tmp_path / "answer.json").read_text())["body"]
    assert (answer["id"], answer["name"], answer["result"]) == (ID, "light", "done")
    until(lambda: whole.status("io")["detail"]["parts"]["light"] == "steady", "the light is lit")
    again = bash(short("mosquitto_rr" + blocks("Send a command").partition("mosquitto_rr")[2]), tmp_path, broker)
    assert (again.returncode, (tmp_path / "answer.json").read_text()) == (TIMED_OUT, "")


def test_what_somebody_else_signed_is_not_obeyed(whole: Node, broker: Broker, tmp_path: Path) -> None:
    commands = blocks("Listen", "Send a command").replace("$KEYS/command.key", "other.key")
    made = "openssl ecparam -name prime256v1 -genkey -noout -out other.key\n"
    done = bash(short(made + commands), tmp_path, broker)
    assert (done.returncode, (tmp_path / "answer.json").read_text()) == (TIMED_OUT, "")
    assert whole.status("io")["detail"]["parts"]["light"] == "off"


def test_the_page_names_what_is_retained() -> None:
    found = document()
    retained = {
        found["channels"][name.removeprefix("send")]["address"].partition("{node}/")[2]
        for name, one in found["operations"].items()
        if one["action"] == "send" and one["bindings"]["mqtt"]["retain"]
    }
    [line] = [one for one in PAGE.splitlines() if one.startswith("- **Retained**")]
    assert {re.sub("<(\\w+)>", "{\\1}", one) for one in re.findall("`([^`]+)`", line.partition(". ")[0])} == retained
