"""`lykta renew`: a new key is made on the node, the centre certifies it for the same role, and the pair is swapped (R41)."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.inbox.desired import leave_certificate, taken
from agent.root.renew import attend, take_answers
from central.commands.main import app as central
from central.fleet.renewing import renew
from central.keys.revoking import revoke
from privacy.errors import RecordError
from privacy.records.chains import verify_chain
from privacy.records.journal import Journal
from privacy.records.jws import load_chain, load_private_key
from privacy.records.renewal import new_key, request
from provisioning.identity import TLS_AND_UNITS, load_authority, load_signer, renewal_of, tls_files
from provisioning.layout import Layout
from tests.support.broker import Broker, until
from tests.support.power import Cut, power_cut
from tests.support.site import NAME, Site
from tests.support.stop import Neighbour, Stop

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.made(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def site(bare: Site, tmp_path: Path) -> Site:
    return bare.copy(tmp_path)


def renewed(site: Site, *words: str) -> dict[str, str]:
    """What `lykta apply` did for each key that had an answer, and then `lykta renew` for the others."""
    came = {unit: result for unit, (result, _, _) in site.apply()[1].items()}
    return {unit: one["result"] for unit, one in site.run("renew", *words)[1]["keys"].items()} | came


def attend_all(layout: Layout) -> None:
    """The same two in this process."""
    with taken(layout) as left:
        if left:
            take_answers(layout, left)
    attend(layout, {})


def answered(site: Site, unit: str) -> bytes:
    """The centre's certificate for the unit's wish, left where the uplink leaves it."""
    certificate = renew(site.keys, renewal_of(site.layout, unit).read_bytes())[1]
    site.layout.desired.mkdir(parents=True, exist_ok=True)
    (site.layout.desired / f"{unit}.pem").write_bytes(certificate)
    return certificate


def test_a_young_certificate_is_kept(site: Site) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in site.root.rglob("*") if path.is_file() and path.name != ".lock"}

    before = files()
    assert set(renewed(site).values()) == {"kept"}
    assert files() == before


@pytest.mark.parametrize("unit", TLS_AND_UNITS)
def test_at_two_thirds_of_its_life_a_new_key_is_made_certified_and_swapped(site: Site, unit: str) -> None:
    """R41: the private key never leaves the node; what the old one signed still verifies."""
    site.ages(unit, -61 * DAY, 29 * DAY)
    old = (site.layout.certificates / f"{unit}.key").read_bytes()
    assert renewed(site)[unit] == "asked"
    next_key = site.layout.certificates / f"{unit}.next.key"
    assert next_key.stat().st_mode & 0o777 == 0o600
    assert (site.layout.certificates / f"{unit}.key").read_bytes() == old, "the old one is in force until the certificate is here"
    assert renewed(site)[unit] == "waits"
    new = next_key.read_bytes()
    assert new.decode().splitlines()[1] not in renewal_of(site.layout, unit).read_text()
    certificate = answered(site, unit)
    assert renewed(site)[unit] == "swapped"
    assert (site.layout.certificates / f"{unit}.key").read_bytes() == new
    assert (site.layout.certificates / f"{unit}.key").stat().st_mode & 0o777 == 0o600
    assert (site.layout.certificates / f"{unit}.pem").read_bytes() == certificate
    assert (site.layout.certificates / f"{unit}.pem").stat().st_mode & 0o777 == 0o644
    assert not renewal_of(site.layout, unit).exists()
    assert renewed(site)[unit] == "kept"
    assert site.run("check", "keys")[0] == 0


def test_the_journal_goes_on_over_a_renewal(site: Site) -> None:
    """R32: each entry carries its own chain, so one chain may be signed by two keys of one unit."""

    def entry() -> None:
        folder = site.layout.journal("camera")
        Journal(folder, "camera", load_signer(site.layout, "camera"), lambda: datetime.now(UTC)).append("test")

    site.ages("camera", -61 * DAY, 29 * DAY)
    entry()
    renewed(site)
    answered(site, "camera")
    renewed(site)
    entry()
    assert len(verify_chain(site.layout.journal("camera"), "camera", load_authority(site.layout)).entries) == 2


def test_an_expired_certificate_still_asks_for_30_days(site: Site) -> None:
    site.ages("io", -100 * DAY, -29 * DAY)
    assert site.run("check", "keys")[0] == 1
    assert renewed(site)["io"] == "asked"
    assert answered(site, "io")
    assert renewed(site)["io"] == "swapped"


def test_check_warns_of_what_was_not_renewed_in_time(site: Site) -> None:
    for begin, findings in ((-66, 1), (-68, 2)):
        site.ages("uplink", begin * DAY, (90 + begin) * DAY)
        code, said = site.run("check", "keys", "--strict")
        assert (code, len(said["findings"])) == (0 if findings == 1 else 3, findings)


def test_whom_the_centre_gives_nothing(site: Site, bare: Site, tmp_path: Path) -> None:
    """A wish by the key of another unit, of another node's, long expired, or of a revoked node."""
    site.ages("io", -61 * DAY, 29 * DAY)
    renewed(site)
    wish = renewal_of(site.layout, "io").read_bytes()
    assert renew(site.keys, wish)[1] == renew(site.keys, wish)[1], "the same wish gets the same certificate"
    late = bare.copy(tmp_path / "late")
    late.ages("io", -200 * DAY, -31 * DAY)
    renewed(late)
    with pytest.raises(RecordError, match="was not valid"):
        renew(late.keys, renewal_of(late.layout, "io").read_bytes())
    with pytest.raises(RecordError, match="bad signature"):
        renew(site.keys, wish[:-8] + b"AAAAAAAA")
    stolen = Site.made(tmp_path / "stolen")
    wish = request(new_key()[0], load_signer(stolen.layout, "io"), NAME, "io", datetime.now(UTC))
    other = request(new_key()[0], load_signer(stolen.layout, "io"), ("city", "stop-2"), "io", datetime.now(UTC))
    with pytest.raises(RecordError, match="signed by city/stop-1"):
        renew(stolen.keys, other)
    with pytest.raises(RecordError, match="has the role 'io', not 'camera'"):
        renew(stolen.keys, request(new_key()[0], load_signer(stolen.layout, "io"), NAME, "camera", datetime.now(UTC)))
    revoke(stolen.keys, "city/stop-1")
    with pytest.raises(RecordError, match="revoked"):
        renew(stolen.keys, wish)


def test_what_the_node_does_not_take(site: Site, tmp_path: Path) -> None:
    """A certificate for another key, of another unit, of another centre; and one that nobody asked for."""
    unasked = request(new_key()[0], load_signer(site.layout, "camera"), NAME, "camera", datetime.now(UTC))
    (tmp_path / "camera.pem").write_bytes(renew(site.keys, unasked)[1])
    code, said = site.run("renew", str(tmp_path / "camera.pem"))
    assert (code, said["keys"]["camera"]["reason"]) == (1, "camera: no key waits for a certificate")
    for unit in ("io", "tls"):
        site.ages(unit, -61 * DAY, 29 * DAY)
    assert renewed(site)["io"] == "asked"
    answers = {"tls": answered(site, "tls"), "torn": b"----"}
    answers["foreign"] = (Site.made(tmp_path / "other").layout.certificates / "io.pem").read_bytes()
    for name, answer in answers.items():
        (site.layout.desired / "io.pem").write_bytes(answer)
        assert renewed(site)["io"] == "refused", name
    answered(site, "io")
    assert renewed(site)["io"] == "swapped"


def test_a_power_cut_at_any_step_leaves_a_pair_that_fits(site: Site, tmp_path: Path) -> None:
    """Cut before every step of making the key and of the swap: the service starts with the old pair or the new one."""
    site.ages("tls", -61 * DAY, 29 * DAY)
    for phase in ("wish", "swap"):
        cuts = 0
        while True:
            one = site.copy(tmp_path / f"{phase}-{cuts}")
            with power_cut(cuts):
                try:
                    attend_all(one.layout)
                    whole = True
                except Cut:
                    whole = False
            files = tls_files(one.layout)
            chain = load_chain(files.certificate.read_bytes())
            assert chain[0].public_key() == load_private_key(files.key.read_bytes()).public_key(), (phase, cuts)
            for _ in range(3):
                if renewal_of(one.layout, "tls").exists():
                    answered(one, "tls")
                attend_all(one.layout)
            assert site.run("check", "keys")[0] == 0
            fresh = load_chain((one.layout.certificates / "tls.pem").read_bytes())[0]
            assert fresh.not_valid_after_utc > datetime.now(UTC) + 300 * DAY, (phase, cuts)
            assert not [*one.layout.certificates.glob("tls.next.*")], (phase, cuts)
            if whole:
                break
            cuts += 1
        assert cuts > 4
        attend_all(site.layout)
        if phase == "wish":
            answered(site, "tls")


def test_a_tls_certificate_that_the_broker_refuses_gives_way_to_the_one_before(bare: Site) -> None:
    """Two phases: the old pair is destroyed only when the new one has connected."""
    with tempfile.TemporaryDirectory(prefix="lykta-") as folder:
        site = bare.copy(Path(folder))
        site.ages("tls", -61 * DAY, 29 * DAY)
        old = (site.layout.certificates / "tls.pem").read_bytes()
        renewed(site)
        answered(site, "tls")
        assert renewed(site)["tls"] == "swapped"
        assert (site.layout.certificates / "tls.previous.key").stat().st_mode & 0o777 == 0o600
        uplink = Neighbour(site.layout, "uplink", "ctl")
        try:
            uplink.standing["reason"] = "broker_unreachable"
            assert renewed(site)["tls"] == "kept"
            uplink.standing["reason"] = "certificate_refused"
            assert renewed(site)["tls"] == "fell_back"
            assert (site.layout.certificates / "tls.pem").read_bytes() == old
            assert renewed(site)["tls"] == "asked", "and it is tried again with another key"
            answered(site, "tls")
            uplink.standing["reason"] = "connected"
            assert renewed(site)["tls"] == "swapped"
            assert renewed(site)["tls"] == "kept"
            assert not [*site.layout.certificates.glob("tls.previous.*")]
        finally:
            uplink.close()


def test_over_the_broker_and_back_and_in_by_the_new_certificate(stop: Stop, broker: Broker) -> None:
    """The wish stands retained, `lykta-central renew` answers all wishes, the uplink leaves the answer, root swaps."""
    site = Site(stop.root, broker.centre.folder)
    stop.neighbour("camera")
    site.ages("tls", -61 * DAY, 29 * DAY)
    stop.start()
    assert renewed(site)["tls"] == "asked"
    with broker.ear(f"{stop.here}/cert/#") as heard:
        until(lambda: [one for one in heard() if one.tail == "cert/tls/wanted"], "the wish is heard")
        words = ["renew", str(broker.centre.folder), "--broker", f"127.0.0.1:{broker.port}"]
        done = CliRunner().invoke(central, words)
        assert (done.exit_code, done.stdout) == (0, "renewed city/stop-1/tls\n")
    until((stop.layout.desired / "tls.pem").exists, "the certificate is left")
    assert renewed(site)["tls"] == "swapped"
    assert stop.end() == 0
    stop.start()
    until(lambda: stop.detail("connected"), "connected with the new certificate")
    assert renewed(site)["tls"] == "kept"
    assert not [*site.layout.certificates.glob("tls.previous.*")]


def test_apply_takes_a_certificate_that_came(site: Site) -> None:
    """It must not wait for the day's timer; and a second one for the same wish changes nothing."""
    site.ages("io", -61 * DAY, 29 * DAY)
    renewed(site)
    certificate = answered(site, "io")
    assert site.apply()[1]["io"][0] == "swapped"
    (site.layout.desired / "io.pem").write_bytes(certificate)
    assert site.apply()[1]["io"][0] == "kept"
    assert site.run("check", "keys")[0] == 0


def test_what_stood_at_the_broker_for_an_earlier_key_is_not_left_again(site: Site) -> None:
    """It stands retained for the two years until the next wish, and comes with every connection."""
    site.ages("io", -61 * DAY, 29 * DAY)
    renewed(site)
    certificate = answered(site, "io")
    assert renewed(site)["io"] == "swapped"
    assert not leave_certificate(site.layout, "io", certificate), "nothing waits"
    site.ages("io", -61 * DAY, 29 * DAY)
    assert renewed(site)["io"] == "asked"
    assert not leave_certificate(site.layout, "io", certificate), "another key waits"
    assert leave_certificate(site.layout, "io", renew(site.keys, renewal_of(site.layout, "io").read_bytes())[1])


def test_by_hand(site: Site, tmp_path: Path) -> None:
    """Where no link reaches, or the TLS certificate has ended: wish and certificate go as files."""
    site.ages("tls", -100 * DAY, -1 * DAY)
    renewed(site)
    words = ["renew", str(site.keys), str(renewal_of(site.layout, "tls")), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(central, words).exit_code == 0
    assert renewed(site, str(tmp_path / "out/city/stop-1/tls.pem"))["tls"] == "swapped"


@pytest.mark.skipif(not shutil.which("systemd-creds"), reason="needs systemd-creds")
def test_keys_that_are_sealed_to_the_machine_stay_sealed(site: Site) -> None:
    """Where the node uses <unit>.cred no private key ever lies on the card in the clear."""
    from drivers.creds import sealed

    plain = site.layout.certificates / "io.key"
    try:
        secret = sealed(plain.read_bytes(), "io.key")
    except OSError as problem:
        pytest.skip(f"systemd-creds: {problem}")
    (site.layout.certificates / "io.cred").write_bytes(secret)
    plain.unlink()
    site.ages("io", -61 * DAY, 29 * DAY)
    assert renewed(site)["io"] == "asked"
    answered(site, "io")
    assert renewed(site)["io"] == "swapped"
    assert not [path for path in site.layout.certificates.glob("io.*") if b"PRIVATE KEY" in path.read_bytes()]
    assert site.run("renew")[1]["keys"]["io"]["result"] == "kept"
