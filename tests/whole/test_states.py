"""What the centre is told when a node does not film: the real camera, io and uplink behind a real broker."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from agent.demo.run import Demo
from privacy.records.chains import verify_chain
from privacy.records.journal import Fact
from provisioning.identity import load_authority
from tests.support.broker import PATIENCE, whole_lines
from tests.support.nodes import MODELS, VIDEO, Node, ago, until

Told = tuple[str, str, str]


def told(folder: Path) -> list[Told]:
    """State, reason and owner of each message `state`, as an operator's mosquitto_sub heard them."""
    lines = [line.split("\t", 3) for line in whole_lines(folder / "logs/messages.log")]
    bodies = [json.loads(parts[3])["body"] for parts in lines if len(parts) == 4 and parts[2].endswith("/state") and parts[3]]
    return [(body["state"], body["reason"], body["owner"]) for body in bodies]


def entries(node: Node, unit: str, kind: str) -> list[dict[str, Fact]]:
    """Facts of a unit's journal entries of one kind, verified."""
    chain = verify_chain(node.layout.journal(unit), unit, load_authority(node.layout))
    return [entry.facts for entry in chain.entries if entry.kind == kind]


def spoil(token: bytes) -> bytes:
    header, payload, signature = token.split(b".")
    return b".".join((header, payload[:-4] + b"AAAA", signature))


REFUSALS: list[tuple[Callable[[Node], object], Told]] = [
    (lambda node: node.layout.basis.write_bytes(spoil(node.layout.basis.read_bytes())), ("blind", "basis_invalid", "lawyer")),
    (lambda node: node.sign("basis", least_profile="full"), ("blind", "basis_mismatch", "ops")),
    (lambda node: node.layout.basis.unlink(), ("blind", "basis_missing", "lawyer")),
    (lambda node: node.sign("view", basis="basis-0"), ("blind", "view_of_other_basis", "technician")),
    (lambda node: node.layout.overlay.write_bytes(b"no record"), ("blind", "config_invalid", "ops")),
    (lambda node: node.sign("basis", begin=ago(days=9), end=ago(days=1)), ("blind", "basis_expired", "lawyer")),
]


def test_what_closes_the_lens_says_so_itself(folder: Path) -> None:
    """Each record that closes the lens reaches `state` with its own reason and owner; all were `records_or_settings_invalid`,
    a technician's, and an expired basis was a lawful rest. Each state is an entry of the uplink's journal, in order."""
    demo = Demo(folder / "demo", VIDEO, MODELS)
    demo.prepare()
    node = Node(demo.node, demo.centre)
    kept = {path: path.read_bytes() for path in (node.layout.basis, node.layout.view)}
    with ExitStack() as stack:
        demo.start_centre(stack)
        for name in ("io", "uplink"):
            demo.start_service(stack, name)
        for harm, wanted in REFUSALS:
            harm(node)
            camera = demo.start_service(stack, "camera")
            until(lambda wanted=wanted: told(demo.folder)[-1:] == [wanted], f"the centre hears {wanted}")
            if camera.poll() is None:
                camera.terminate()
            camera.wait(PATIENCE * 20)
            for path, data in kept.items():
                path.write_bytes(data)
            node.layout.overlay.unlink(missing_ok=True)
        heard = [one for one, _ in groupby(told(demo.folder))]
    noted = [(one["state"], one["reason"], one["owner"]) for one in entries(node, "uplink", "node_state")]
    assert noted[: len(heard)] == heard


def test_a_camera_that_stands_still_is_not_filming(folder: Path) -> None:
    """For half a minute a dead camera read `ready: filming`. A process that stands still answers no more, and is told as
    degraded long before it counts as blind; when it goes on, so does the node. Every state is in the journals."""
    demo = Demo(folder / "demo", VIDEO, MODELS)
    demo.prepare()
    node = Node(demo.node, demo.centre)
    with ExitStack() as stack:
        demo.start_centre(stack)
        services = {name: demo.start_service(stack, name) for name in ("io", "uplink", "camera")}
        until(lambda: told(demo.folder)[-1:] == [("ready", "filming", "nobody")], "it films", 60)
        services["camera"].send_signal(signal.SIGSTOP)
        try:
            until(lambda: told(demo.folder)[-1:] == [("degraded", "camera_silent", "technician")], "its silence is told")
        finally:
            services["camera"].send_signal(signal.SIGCONT)
        until(lambda: told(demo.folder)[-1:] == [("ready", "filming", "nobody")], "it films again", 60)
        assert ("blind", "camera_silent", "technician") not in told(demo.folder)
        for name in ("camera", "io", "uplink"):
            services[name].terminate()
            assert services[name].wait(PATIENCE * 20) == 0
    of_node = [(one["state"], one["reason"]) for one in entries(node, "uplink", "node_state")]
    silent = of_node.index(("degraded", "camera_silent"))
    assert of_node[silent - 1] == of_node[silent + 1] == ("ready", "filming")
    for unit, standing in (("camera", ("ready", "filming")), ("io", ("ready", "listening")), ("uplink", ("ready", "connected"))):
        of_unit = [(one["state"], one["reason"]) for one in entries(node, unit, "state")]
        assert standing in of_unit
        assert of_unit[-1] == ("stopping", "told_to")
