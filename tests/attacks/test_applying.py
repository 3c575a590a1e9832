"""14.A1: records and wishes that nobody signed end no run of `lykta apply` or `lykta-central renew`: the others go through."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.envelope import Envelope
from agent.messages import CertificateWanted, Message, encode
from central.fleet.renewing import renew
from provisioning.identity import renewal_of
from tests.attacks.inputs import HEADERS, token
from tests.support.broker import Broker, until
from tests.support.clips import bundle, central
from tests.support.site import Site
from tests.support.stop import Stop

DAY = timedelta(days=1)
UNSIGNED = [token(header) for header in HEADERS]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.made(tmp_path_factory.mktemp("bare"))


@pytest.mark.parametrize("kind", ["basis", "view", "config"])
@pytest.mark.parametrize("jws", UNSIGNED, ids=lambda jws: jws[:24])
def test_an_unsigned_record_keeps_no_certificate_waiting(bare: Site, tmp_path: Path, kind: str, jws: str) -> None:
    """A header nested 9,000 deep ended every run of `apply`, and so no certificate was renewed any more."""
    site = bare.copy(tmp_path)
    site.ages("io", -61 * DAY, 29 * DAY)
    assert site.run("renew")[1]["keys"]["io"]["result"] == "asked"
    site.desire(kind, jws.encode())
    (site.layout.desired / "io.pem").write_bytes(renew(site.keys, renewal_of(site.layout, "io").read_bytes())[1])
    code, said = site.apply()
    assert (code, said[kind][0], said["io"][0]) == (1, "refused", "swapped")
    assert [*site.layout.desired.iterdir()] == []


def test_a_wish_that_nobody_signed_keeps_no_other_node_waiting(stop: Stop, broker: Broker, tmp_path: Path) -> None:
    """It stands retained under its node's name: it ended the fleet's `renew`, and so each later one."""
    keys, taken_over = broker.centre.folder, bundle(broker.centre.folder, "city/stop-0", tmp_path / "stop-0")
    site = Site(stop.root, keys)
    site.ages("tls", -61 * DAY, 29 * DAY)
    stop.neighbour("camera")
    stop.start()
    assert site.run("renew")[1]["keys"]["tls"]["result"] == "asked"
    with broker.ear("lykta/v1/+/+/cert/#") as heard:
        for unit, jws in zip(("io", "tls", "camera", "uplink", "retention", "ops"), UNSIGNED, strict=True):
            message = encode(Message(envelope(), CertificateWanted(unit, jws)))
            where = f"lykta/v1/city/stop-0/cert/{unit}/wanted"
            said = broker.publish(where, message.decode(), retain=True, as_certificate=taken_over.credentials / "tls.pem")
            assert "PUBACK" in said
        until(
            lambda: {one.topic.split("/")[3] for one in heard() if one.tail.endswith("wanted")} == {"stop-0", "stop-1"}, "all stand"
        )
        done = central("renew", keys, "--broker", f"127.0.0.1:{broker.port}")
    assert "Traceback" not in done.stderr, done.stderr
    assert "renewed city/stop-1/tls" in done.stdout.splitlines()
    assert sum(line.startswith("refused city/stop-0/") for line in done.stdout.splitlines()) == len(UNSIGNED)


def envelope() -> Envelope:
    return Envelope(1, "01890000-0000-7000-8000-000000000001", "e", 1, datetime(2026, 3, 1, tzinfo=UTC), 1, "b", "synced", False)
