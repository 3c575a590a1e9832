"""`lykta apply`: what the centre desires is verified as root and placed by rename, or refused with its reason (R01, R05)."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.inbox.applied import KINDS
from agent.inbox.desired import LONGEST, leave, taken
from agent.messages import Reported
from agent.root.apply import apply
from central.commands.main import app as central
from central.keys.key_folder import signer
from privacy.errors import LyktaError, RecordError
from privacy.records.jws import sign
from privacy.records.order import ORDER, Order
from privacy.records.settings import MAY_SET, check_settings, merged
from provisioning.identity import load_permit, revocations
from tests.support.broker import Broker, until
from tests.support.nodes import Node
from tests.support.nodes import stop as stop_process
from tests.support.power import Cut, power_cut
from tests.support.site import NAME, Site
from tests.support.stop import Stop

NIGHTS = [{"days": [1, 2], "begin": "20:00", "end": "04:00"}]
ASSESSED = "2026-11"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.made(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def site(bare: Site, tmp_path: Path) -> Site:
    """A node with basis-1 and view-1 in force."""
    site = bare.copy(tmp_path)
    site.desire("basis", site.record("basis"))
    site.desire("view", site.record("view"))
    assert site.apply() == (0, {"basis": ("placed", "basis-1", ""), "view": ("placed", "view-1", "")})
    return site


# -- the rules ---------------------------------------------------------------------------------------------------------


def test_basis_and_view_that_come_together_are_judged_together(site: Site) -> None:
    """R01: the lens may open by both; what was taken is gone from the inbox, and a second run has nothing to do."""
    load_permit(site.layout, "city", "stop-1", "standard", "yolox-nano+yunet")
    assert [*site.layout.desired.iterdir()] == []
    assert site.apply() == (0, {})


def test_what_is_placed_can_be_read_by_the_services(site: Site) -> None:
    assert site.layout.basis.stat().st_mode & 0o777 == 0o644
    assert (site.layout.applied / "basis.json").stat().st_mode & 0o777 == 0o644


def test_a_view_that_fits_only_the_new_basis_comes_with_it(site: Site) -> None:
    old = site.layout.basis.read_bytes()
    site.desire("view", site.record("view", id="view-2", basis="basis-2"))
    site.desire("basis", site.record("basis", id="basis-2", begin="2099-01-01T00:00:00Z", end="2099-02-01T00:00:00Z"))
    assert site.apply()[1] == {"basis": ("placed", "basis-2", ""), "view": ("placed", "view-2", "")}
    assert site.layout.basis.with_name("basis.jws.previous").read_bytes() == old


def test_a_basis_whose_view_no_longer_fits_is_placed_and_closes_the_lens(site: Site) -> None:
    """The law comes first: the limits hold at once, and it is said that the camera stays closed until the view comes."""
    site.desire("basis", site.record("basis", id="basis-2", begin="2099-01-01T00:00:00Z", end="2099-02-01T00:00:00Z"))
    code, said = site.apply()
    assert code == 0
    assert said["basis"][:2] == ("placed", "basis-2")
    assert "camera stays closed: view: basis: drawn for basis basis-1" in said["basis"][2]


@pytest.mark.parametrize("changed", [{"hours": NIGHTS}, {"least_profile": "strict"}, {"retention_hours": 96}, {"stacks": ["x"]}])
def test_what_was_assessed_changes_only_with_a_new_assessment(site: Site, changed: dict[str, Any]) -> None:
    """R05."""
    later = {"id": "basis-2", "begin": "2099-01-01T00:00:00Z", "end": "2099-02-01T00:00:00Z"}
    site.desire("basis", site.record("basis", **later, **changed))
    code, said = site.apply()
    assert (code, said["basis"][:2]) == (1, ("refused", "basis-1"))
    assert f"assessment: {next(iter(changed))} changed" in said["basis"][2]
    site.desire("basis", site.record("basis", **later, **changed, assessment=ASSESSED))
    assert site.apply()[1]["basis"][:2] == ("placed", "basis-2")


def test_a_new_view_inside_an_unchanged_basis_needs_no_assessment_and_the_old_one_never_comes_back(site: Site) -> None:
    """R05: the broker, or who has it, may send an old signed view again."""
    old = site.layout.view.read_bytes()
    site.desire("view", site.record("view", id="view-2"))
    assert site.apply() == (0, {"view": ("placed", "view-2", "")})
    for _ in range(2):
        site.desire("view", old)
        code, said = site.apply()
        assert (code, said["view"]) == (1, ("refused", "view-2", "view: id: was in force here before (got view-1)"))
    code, found = site.run("check", "records", "--strict")
    assert (code, [one["result"] for one in found["findings"]]) == (3, ["ok", "warn"])


def test_an_older_basis_never_comes_back(site: Site) -> None:
    """R05: neither the one before, nor another that begins before the one in force, nor the first after two more."""
    first = site.layout.basis.read_bytes()
    for number in (2, 3):
        day = f"2099-01-0{number}T00:00:00Z"
        site.desire("basis", site.record("basis", id=f"basis-{number}", begin=day, end="2100-01-01T00:00:00Z"))
        assert site.apply()[0] == 0
    again = [
        site.record("basis", id=f"basis-{number}", begin="2099-01-09T00:00:00Z", end="2100-01-01T00:00:00Z") for number in (2, 3)
    ]
    for token in (first, site.record("basis", id="basis-4"), *again):
        site.desire("basis", token)
        code, said = site.apply()
        assert (code, said["basis"][:2]) == (1, ("refused", "basis-3"))


def test_a_used_assessment_does_not_cover_another_law(site: Site) -> None:
    later = {"begin": "2099-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    site.desire("basis", site.record("basis", id="basis-2", **later, hours=NIGHTS, assessment=ASSESSED))
    assert site.apply()[0] == 0
    site.desire("basis", site.record("basis", id="basis-3", **later, least_profile="strict"))
    assert "least_profile changed" in site.apply()[1]["basis"][2]


@pytest.mark.parametrize(
    ("name", "key", "changes", "words"),
    [
        ("basis", "command", {"id": "basis-2"}, "not trusted here"),
        ("basis", "basis", {"id": "basis-2", "node": "stop-9"}, "is for city/stop-9"),
        ("view", "command", {"id": "view-2"}, "not trusted here"),
        ("view", "basis", {"id": "view-2", "node": "stop-9"}, "is for city/stop-9"),
        ("view", "basis", {"id": "view-2", "basis": "basis-7"}, "drawn for basis basis-7"),
        ("config", "basis", {"version": 1}, "not trusted here"),
        ("config", "command", {"node": "stop-9"}, "is for city/stop-9"),
        ("config", "command", {"settings": {"camera": {"fps": 900}}}, "camera.fps"),
        ("config", "command", {"settings": {"record": {"pre_roll": "long"}}}, "record.pre_roll"),
    ],
)
def test_what_is_not_for_this_node_or_not_signed_for_it_is_refused(
    site: Site, name: str, key: str, changes: dict[str, Any], words: str
) -> None:
    """R01."""
    before = {path: path.read_bytes() for path in site.layout.etc.rglob("*") if path.is_file()}
    site.desire(name, site.record(name, key, **changes))
    code, said = site.apply()
    assert code == 1
    assert said[name][0] == "refused"
    assert words in said[name][2]
    assert {path: path.read_bytes() for path in site.layout.etc.rglob("*") if path.is_file()} == before


def test_a_view_signed_by_a_key_that_the_basis_does_not_name_is_refused(site: Site) -> None:
    later = {"id": "basis-2", "begin": "2099-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z", "view_keys": ["another"]}
    site.desire("basis", site.record("basis", **later))
    site.desire("view", site.record("view", id="view-2", basis="basis-2"))
    assert "not trusted here" in site.apply()[1]["view"][2]


def test_a_revoked_record_is_refused(site: Site) -> None:
    """R05: an obeyed order named it, before it ever came."""
    now = datetime.now(UTC)
    facts: dict[str, Any] = {"ground": "crime", "offence": "rån", "case": "K 1", "decided": "one", "performed": "two"}
    order = Order(1, "revoke", *NAME, **facts, issued=now, until=now + timedelta(days=1), record="view-2")
    revocations(site.layout).mkdir(parents=True)
    (revocations(site.layout) / "00000001.jws").write_bytes(sign(order, signer(site.keys, "command"), ORDER))
    site.desire("view", site.record("view", id="view-2"))
    assert site.apply()[1]["view"] == ("refused", "view-1", "view-2: was revoked by order 1")


# -- the configuration -------------------------------------------------------------------------------------------------


def test_a_configuration_lies_over_the_file_and_its_version_must_rise(site: Site) -> None:
    site.desire("config", site.config(3, upload={"kbit_s": 200}, record={"post_roll": 9}))
    assert site.apply() == (0, {"config": ("placed", "3", "")})
    shown = site.run("config", "show")[1]
    assert (shown["settings"]["upload"]["kbit_s"], shown["settings"]["record"]["post_roll"]) == (200, 9)
    sources = shown["sources"]
    assert (sources["upload.kbit_s"], sources["node.site"], sources["mask.profile"]) == ("config.jws 3", "lykta.toml", "default")
    for version in (3, 2):
        site.desire("config", site.config(version, upload={"kbit_s": 1}))
        assert site.apply()[1]["config"][0] == "refused"
    site.layout.overlay.unlink()
    site.desire("config", site.config(2))
    assert site.apply()[1]["config"][2].startswith("config: version: must come after 3")


def test_a_mask_that_is_weaker_than_the_basis_is_refused(site: Site) -> None:
    """R04."""
    later = {"id": "basis-2", "begin": "2099-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z", "assessment": ASSESSED}
    site.desire("basis", site.record("basis", **later, least_profile="strict"))
    site.desire("view", site.record("view", id="view-2", basis="basis-2"))
    site.desire("config", site.config(1, mask={"profile": "strict"}))
    assert [one[0] for one in site.apply()[1].values()] == ["placed"] * 3
    site.desire("config", site.config(2, mask={"profile": "standard"}))
    assert "standard is weaker" in site.apply()[1]["config"][2]


@pytest.mark.parametrize("section", ["node", "broker", "ingest", "pins", "clock"])
def test_what_could_cut_off_or_move_a_node_is_not_set_from_afar(section: str) -> None:
    with pytest.raises(RecordError, match=f"{section}.host: may not be set remotely"):
        check_settings({section: {"host": "elsewhere"}})


def test_a_configuration_by_hand_goes_the_same_way(site: Site, tmp_path: Path) -> None:
    good, other = tmp_path / "config.jws", tmp_path / "view.jws"
    good.write_bytes(site.config(1, upload={"what": "help"}))
    other.write_bytes(site.record("view", id="view-2"))
    assert site.run("config", "apply", str(good))[0] == 0
    assert site.run("config", "show")[1]["settings"]["upload"]["what"] == "help"
    assert site.run("config", "apply", str(other))[0] == 2
    assert site.apply(str(other)) == (0, {"view": ("placed", "view-2", "")})


def test_a_torn_configuration_stops_the_camera_and_nothing_else(site: Site) -> None:
    """Promises 1 and 5: it may have asked for a stronger mask, and help needs none."""
    from agent.runtime.settings_in_force import effective

    site.layout.overlay.write_bytes(site.config(1, mask={"profile": "strict"})[:-30] + b"\0" * 30)
    found = effective(site.layout)
    assert found.version in (0, 1)
    site.layout.overlay.write_bytes(b"torn")
    found = effective(site.layout)
    assert (found.version, found.config.mask.profile) == (0, "standard")
    assert isinstance(found.trouble, RecordError)
    code, said = site.run("check", "config")
    assert code == 1
    assert "camera stays closed" in said["findings"][0]["what"]


def test_io_runs_on_without_a_configuration_that_does_not_hold_and_the_camera_does_not(folder: Path, bare: Site) -> None:
    """Promises 1 and 5, as processes: help goes on, and says so; the camera ends with 5 before it opens anything."""
    site = bare.copy(folder)
    with site.layout.config.open("a") as file:
        file.write('\n[pins]\nfactory = "mock"\n')
    node = Node(site.root, site.keys)
    site.desire("config", site.config(2, light={"presence_s": 7}))
    assert site.apply()[0] == 0
    service = node.start("io")
    until(lambda: node.status("io").get("detail", {}).get("config_version") == 2, "io says which version is in force")
    assert stop_process(service) == 0
    site.layout.overlay.write_bytes(b"torn")
    service = node.start("io")
    until(lambda: "not a signed record" in node.status("io").get("detail", {}).get("config_trouble", ""), "io says what is wrong")
    until(lambda: node.state("io")[0] == "ready", "help goes on")
    assert stop_process(service) == 0
    done = node.run("camera")
    assert done.returncode == 5
    assert "config: not a signed record" in done.stderr


TREES = st.dictionaries(st.sampled_from([*MAY_SET, "node"]), st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3))


@given(TREES, TREES)
def test_merging_takes_each_key_from_above_or_else_from_below(below: Any, over: Any) -> None:
    before = json.dumps([below, over])
    both = merged(below, over)
    for section in {*below, *over}:
        for key in {*below.get(section, {}), *over.get(section, {})}:
            expected = over[section][key] if key in over.get(section, {}) else below[section][key]
            assert both[section][key] == expected
    assert json.dumps([below, over]) == before


# -- an uplink that somebody took over ---------------------------------------------------------------------------------


def test_root_follows_no_link_that_the_uplink_left(site: Site, tmp_path: Path) -> None:
    """Uplink compromised: neither a link for a file nor one for the folder lets root read, move or delete something else."""
    secret = tmp_path / "secret.jws"
    secret.write_bytes(site.record("view", id="view-2"))
    (site.layout.desired / "view.jws").symlink_to(secret)
    assert site.apply()[1]["view"][:2] == ("refused", "view-1")
    assert secret.exists()
    shutil.rmtree(site.layout.desired)
    before = {path: path.read_bytes() for path in site.layout.etc.rglob("*") if path.is_file()}
    site.layout.desired.symlink_to(site.layout.etc)
    assert site.run("apply")[0] == 1
    assert {path: path.read_bytes() for path in site.layout.etc.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"x" * (LONGEST + 1))])
def test_what_is_no_short_file_is_refused_and_taken_away(site: Site, make: Any) -> None:
    make(site.layout.desired / "config.jws")
    assert site.apply()[1]["config"][0] == "refused"
    assert site.apply() == (0, {})


def test_what_nobody_asked_for_is_taken_away(site: Site, tmp_path: Path) -> None:
    """Else the unit that waits for an empty folder would start for ever: half a file, a link, a tree of folders."""
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    (site.layout.desired / ".view.jws.part").write_text("half")
    (site.layout.desired / "link").symlink_to(kept)
    (site.layout.desired / "tree/below").mkdir(parents=True)
    assert site.apply() == (0, {})
    assert [*site.layout.desired.iterdir()] == []
    assert (kept / "file").exists()


@given(st.binary(max_size=300))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_it(site: Site, token: bytes) -> None:
    """One node takes them all: each is refused whatever came before it."""
    for kind in KINDS:
        site.desire(kind, token)
    with taken(site.layout) as left:
        said = apply(site.layout, {}, left)
    assert {one.result for one in said} == {"refused"}


# -- power cuts --------------------------------------------------------------------------------------------------------


def test_a_power_cut_at_any_step_leaves_old_or_new_and_the_next_run_ends_it(site: Site, tmp_path: Path) -> None:
    """Basis, view and configuration together, cut before every step that reaches the disk."""
    day = {"begin": "2099-01-01T00:00:00Z", "end": "2100-01-01T00:00:00Z"}
    new = {
        "basis": site.record("basis", id="basis-2", **day),
        "view": site.record("view", id="view-2", basis="basis-2"),
        "config": site.config(1, upload={"kbit_s": 7}),
    }
    places = {"basis": site.layout.basis, "view": site.layout.view, "config": site.layout.overlay}
    for name, token in new.items():
        site.desire(name, token)
    # Placed by hand: there is no note yet of what was in force.
    shutil.rmtree(site.layout.applied)
    cuts = 0
    while True:
        one = site.copy(tmp_path / f"cut-{cuts}")
        with power_cut(cuts):
            try:
                with taken(one.layout) as left:
                    apply(one.layout, {}, left)
                whole = True
            except Cut:
                whole = False
        for name, place in places.items():
            now = one.root / place.relative_to(site.root)
            known = {new[name], place.read_bytes() if place.exists() else None}
            assert (now.read_bytes() if now.exists() else None) in known
        one.apply()
        for name, place in places.items():
            assert (one.root / place.relative_to(site.root)).read_bytes() == new[name], (cuts, name)
        assert [*one.layout.desired.iterdir()] == []
        notes = {kind: json.loads((one.layout.applied / f"{kind}.json").read_text()) for kind in KINDS}
        assert {note["result"] for note in notes.values()} == {"placed"}
        assert "view-1" in notes["view"]["past"], "what was in force may never come back, also after a cut"
        if whole:
            break
        cuts += 1
    assert cuts > 20


# -- from the centre to the node and back ------------------------------------------------------------------------------


def test_from_the_centre_over_the_broker_into_force_and_reported(stop: Stop, broker: Broker, tmp_path: Path) -> None:
    """Sent as `lykta-central send` does, left still signed by the uplink, placed by `lykta apply`, reported retained."""
    keys, site = broker.centre.folder, Site(stop.root, broker.centre.folder)

    def send(name: str, token: bytes) -> None:
        file = tmp_path / f"{name}.jws"
        file.write_bytes(token)
        words = ["send", str(keys), "city/stop-1", name, "--file", str(file), "--broker", f"127.0.0.1:{broker.port}"]
        assert CliRunner().invoke(central, words).exit_code == 0

    def reported(name: str) -> tuple[str, str, str]:
        bodies = [message.body for message in stop.messages(heard(), f"{name}/reported")]
        last = bodies[-1] if bodies else None
        return (last.id, last.result, last.reason) if isinstance(last, Reported) else ("", "", "")

    stop.neighbour("camera")
    with broker.ear() as heard:
        send("view", site.record("view"))
        stop.start()
        until((stop.layout.desired / "view.jws").exists, "the view is left")
        until(lambda: reported("basis") == ("", "none", ""), "it is reported that there is no basis")
        assert site.apply()[0] == 1
        until(lambda: reported("view")[1] == "refused", "it is reported that it came before its basis")
        send("basis", site.record("basis"))
        send("config", site.config(1, upload={"kbit_s": 64}))
        until(lambda: all((stop.layout.desired / f"{name}.jws").exists() for name in ("basis", "config")), "both are left")
        assert site.apply()[1]["basis"][:2] == ("placed", "basis-1")
        until(lambda: reported("basis")[:2] == ("basis-1", "placed"), "the basis is reported")
        until(lambda: reported("config") == ("1", "placed", ""), "the configuration is reported")
        send("view", site.record("view"))
        until((stop.layout.desired / "view.jws").exists, "the view is left again: another basis is in force")
        assert site.apply() == (0, {"view": ("placed", "view-1", "")})
        until(lambda: reported("view") == ("view-1", "placed", ""), "the view is reported")


def test_sign_refuses_what_no_node_would_take(tmp_path: Path, bare: Site) -> None:
    site, source, target = bare.copy(tmp_path), tmp_path / "config.json", tmp_path / "config.jws"
    words = ["sign", "config", str(source), "--keys", str(site.keys), "-o", str(target)]
    source.write_text(CliRunner().invoke(central, ["sign", "config", "--example", "city/stop-1"]).stdout)
    assert CliRunner().invoke(central, words).exit_code == 0
    assert site.run("config", "apply", str(target))[0] == 0
    source.write_text(json.dumps(json.loads(source.read_text()) | {"settings": {"broker": {"host": "elsewhere"}}}))
    assert "broker.host: may not be set remotely" in str(CliRunner().invoke(central, words).exception)


def test_what_was_judged_is_not_left_again(site: Site) -> None:
    """It comes with every connection: a bad link must not wear out the card."""
    token = site.record("view", id="view-2")
    assert leave(site.layout, "view", token)
    assert not leave(site.layout, "view", token)
    site.apply()
    assert not leave(site.layout, "view", token)
    with pytest.raises(LyktaError, match="bytes"):
        leave(site.layout, "view", b"x" * (LONGEST + 1))
