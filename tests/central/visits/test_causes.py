"""Each cause from messages as a node sends them, through the collector's intake and writer into SQLite."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from agent.messages import Alarm, Failure, Health, Help, HelpTest, RecordInForce, Reported, Rescue, Switch, Tamper
from central.fleet.visits.causes import CAUSES, UNKNOWN
from tests.support.visiting import DAY, HOUR, LOST, MINUTE, NOW, Stop, cause_of, found, moment, state, well

GONE = NOW - 2 * HOUR


def silent(name: str = "city/stop-1", at: int = GONE, area: str = "North") -> Stop:
    """A node whose will came, a minute after its last message."""
    return Stop(name, area, end=at - MINUTE).usual()


def lost(stop: Stop) -> Stop:
    return stop.say(LOST, stop.end + MINUTE)


# -- the node is silent --------------------------------------------------------------------------------------------------


def test_neighbours_that_fall_silent_within_a_minute_lost_their_power(engine: Engine) -> None:
    stops = [lost(silent(f"city/stop-{one}", GONE + one * 12_000)) for one in range(4)]
    visits = found(engine, [*stops, *well(9, "South")])
    assert [(one.cause, one.bring) for one in visits] == [("power_area", ())] * 4


def test_neighbours_that_had_told_of_a_bad_link_have_no_mobile_network(engine: Engine) -> None:
    stops = [silent(f"city/stop-{one}", GONE + one * 5_000) for one in range(4)]
    for one in stops:
        one.say(Rescue("reconnect", "done", 1000), GONE - 5 * HOUR)
    assert {one.cause for one in found(engine, [*map(lost, stops), *well(9, "South")])} == {"mobile_cell"}


def test_the_voltage_fell_and_then_there_was_silence(engine: Engine) -> None:
    assert cause_of(engine, lost(silent().told(undervoltage_times=9))) == "power_supply"


def test_a_certificate_ended_and_then_there_was_silence(engine: Engine) -> None:
    """Of several nodes with certificates of the same day too, though they fall silent together."""
    stops = []
    for one in range(3):
        stop = Stop(f"city/stop-{one}", end=GONE - MINUTE).usual(certificates={"tls": moment(GONE - 2 * MINUTE)})
        stops.append(lost(stop))
    assert {one.cause for one in found(engine, [*stops, *well(9, "South")])} == {"certificate_expired"}


def test_a_certificate_that_ended_later_is_not_why(engine: Engine) -> None:
    stop = Stop(end=GONE - MINUTE).usual(certificates={"tls": moment(GONE + HOUR)})
    assert cause_of(engine, lost(stop)) == UNKNOWN


def test_the_link_was_bad_and_then_there_was_silence(engine: Engine) -> None:
    stop = silent().say(Rescue("reconnect", "done", 900), GONE - 20 * HOUR).say(Rescue("modem", "done", 1900), GONE - 9 * HOUR)
    assert cause_of(engine, lost(stop)) == "mobile_link"


def test_the_case_was_opened_and_then_there_was_silence(engine: Engine) -> None:
    stop = silent()
    stop.say(Tamper("case", "found", moment(GONE - 3 * MINUTE)), GONE - 3 * MINUTE).say(
        Alarm("case", "open", ""), GONE - 3 * MINUTE
    )
    assert cause_of(engine, lost(stop)) == "vandalism"


def test_a_node_that_was_stopped_in_order_is_asked_for_after_a_working_day(engine: Engine) -> None:
    long_ago = NOW - 9 * HOUR
    stop = silent(at=long_ago).say(state("stopping", "told_to", long_ago), long_ago)
    assert cause_of(engine, stop) == "stopped"


# -- the link is bad -----------------------------------------------------------------------------------------------------


def test_a_node_whose_link_is_rescued_again_and_again(engine: Engine) -> None:
    stop = Stop().usual()
    for ago in (50 * HOUR, 20 * HOUR, 3 * HOUR):
        stop.say(Rescue("reconnect", "done", 1000), NOW - ago)
    assert cause_of(engine, stop) == "mobile_link"


def test_connections_that_break_in_one_boot_and_messages_that_come_late(engine: Engine) -> None:
    stop = Stop().usual()
    for ago in range(5):
        back = NOW - 7 * HOUR + ago * HOUR
        stop.say(LOST, back - 10 * MINUTE)
        for late in range(3):
            stop.say(Health("system", {"temperature_c": 40.0}, {}), back, told=back - (late + 2) * MINUTE)
        stop.say(state("ready", "filming", back), back + 1)
    assert cause_of(engine, stop) == "mobile_link"


def test_neighbours_whose_links_are_rescued_together(engine: Engine) -> None:
    stops = [Stop(f"city/stop-{one}").usual() for one in range(3)]
    for one in stops:
        for ago in (20 * HOUR, 3 * HOUR):
            one.say(Rescue("reconnect", "done", 1000), NOW - ago)
    visits = found(engine, [*stops, *well(9, "South")])
    assert [(one.cause, one.bring) for one in visits] == [("mobile_cell", ())] * 3


def test_two_nodes_with_one_identity(engine: Engine) -> None:
    stop, other = Stop(epoch="e1").usual(), Stop(epoch="e1")
    other.say(state("off", "outside_hours", NOW), NOW - HOUR, seq=1)
    assert cause_of(engine, stop, other) == "two_identities"


def test_a_session_that_is_taken_over_again_and_again(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual(breaks={"session_taken_over": 7})) == "two_identities"


# -- the machine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "cause"),
    [
        ({"undervoltage_times": 8}, "power_supply"),
        ({"life_used": 0.9}, "memory_card"),
        ({"read_only": 1}, "memory_card"),
        ({"used_share": 0.99}, "disk_full"),
        ({"io_contact_failures": 30}, "io_wiring"),
    ],
)
def test_what_health_tells(engine: Engine, numbers: dict[str, float], cause: str) -> None:
    assert cause_of(engine, Stop().usual().told(**numbers)) == cause


def test_a_disk_that_refuses(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual().say(Alarm("disk", "disk_error", ""), NOW - HOUR)) == "memory_card"


def test_a_hot_node_among_cool_ones_has_a_dead_fan_if_it_has_one(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual().told(temperature_c=84.0)) == "fan_dead"


def test_a_hot_node_without_a_fan_is_too_hot(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual(sensors=("camera: picamera2",)).told(temperature_c=84.0)) == "overheated"


def test_time_that_is_not_trusted_for_hours(engine: Engine) -> None:
    stop = Stop().usual().told(trusted=0)
    for ago in (6 * HOUR, 3 * HOUR, HOUR):
        stop.say(state("off", "time_unknown", NOW - 6 * HOUR), NOW - ago, boot="b2", clock="unknown")
    assert cause_of(engine, stop) == "clock"


def test_boots_without_a_time_after_boots_that_had_one(engine: Engine) -> None:
    """As when the battery of the clock dies: the network gives the time minutes later."""
    stop = Stop().usual().say(state("ready", "filming", NOW), NOW - 4 * DAY, boot="b0", clock="holdover")
    for ago in (6 * HOUR, 3 * HOUR):
        at, boot = NOW - ago, f"c{ago}"
        stop.say(LOST, at - 30 * MINUTE).say(state("off", "time_unknown", at), at, boot=boot, clock="unknown")
        stop.say(state("ready", "filming", at), at + 5 * MINUTE, boot=boot)
    assert cause_of(engine, stop) == "clock"


def test_resets_by_the_watchdog(engine: Engine) -> None:
    stop = Stop().usual().told(watchdog_resets=2)
    for ago in (10 * HOUR, 3 * HOUR):
        stop.say(state("starting", "connecting", NOW - ago), NOW - ago, boot=f"w{ago}")
    assert cause_of(engine, stop) == "watchdog"


def test_a_program_that_crashes_in_the_same_way(engine: Engine) -> None:
    stop = Stop().usual()
    for ago in range(4):
        stop.say(Failure("retention", "signal", "SEGV", False), NOW - ago * HOUR - MINUTE)
    assert cause_of(engine, stop) == "software"


def test_a_program_that_ends_with_an_error_again_and_again(engine: Engine) -> None:
    stop = Stop().usual()
    for ago in range(4):
        stop.say(Failure("uplink", "exit-code", "1", False), NOW - ago * HOUR - MINUTE)
    assert cause_of(engine, stop) == "software"


def test_a_disk_with_room_that_refuses(engine: Engine) -> None:
    since = NOW - HOUR
    stop = Stop().usual().say(state("degraded", "disk_refuses_events", since, "ops"), since)
    assert cause_of(engine, stop) == "memory_card"


def test_a_camera_program_that_hangs(engine: Engine) -> None:
    since = NOW - 20 * MINUTE
    stop = Stop().usual().say(Failure("camera", "watchdog", "ABRT", False), since)
    assert cause_of(engine, stop.say(state("blind", "camera_hangs", since, "technician"), since)) == "software"


# -- the camera ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("no_camera", "camera"),
        ("camera_fails", "camera"),
        ("camera_in_use", "camera_setup"),
        ("view_missing", "view_record"),
        ("basis_expired", "basis"),
        ("basis_revoked", "basis"),
        ("config_invalid", "configuration"),
        ("models_invalid", "installation"),
    ],
)
def test_what_a_state_says(engine: Engine, reason: str, cause: str) -> None:
    since = NOW - HOUR
    assert cause_of(engine, Stop().usual().say(state("blind", reason, since, "technician"), since)) == cause


def test_a_camera_that_comes_and_goes(engine: Engine) -> None:
    stop = Stop().usual()
    for ago in range(8, 1, -1):
        at = NOW - ago * HOUR
        stop.say(state("blind", "camera_lost", at, "technician"), at).say(state("ready", "filming", at), at + MINUTE)
    assert cause_of(engine, stop) == "camera"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("covered", "lens_covered"),
        ("moved", "camera_moved"),
        ("defocused", "lens_defocused"),
        ("blinded", "lens_blinded"),
        ("frozen", "camera"),
    ],
)
def test_what_the_view_guard_finds_and_does_not_take_back(engine: Engine, kind: str, cause: str) -> None:
    at = NOW - 4 * HOUR
    stop = Stop().usual().say(Tamper(kind, "found", moment(at)), at).say(Alarm("tamper", kind, ""), at)  # type: ignore[arg-type]
    assert cause_of(engine, stop) == cause


def test_a_lamp_without_current(engine: Engine) -> None:
    at = NOW - 2 * HOUR
    stop = Stop().usual().say(Switch("light", "fault"), at).say(Alarm("light", "no_current", ""), at)
    assert cause_of(engine, stop.say(state("blind", "too_dark", at, "technician"), at)) == "lamp_dead"


# -- the stop ------------------------------------------------------------------------------------------------------------


def test_a_jammed_button(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual().say(Alarm("help_button", "jammed", ""), NOW - HOUR)) == "help_button_jammed"


def test_a_help_test_that_finds_the_button_closed(engine: Engine) -> None:
    assert cause_of(engine, Stop().usual().say(HelpTest("t2", "closed"), NOW - HOUR)) == "help_button_jammed"


def test_a_help_point_that_is_not_heard(engine: Engine) -> None:
    stop = Stop().usual()
    stop.messages = [one for one in stop.messages if getattr(one, "tail", "") != "event/help_test"]
    stop.say(HelpTest("t", "open"), NOW - 12 * DAY)
    assert cause_of(engine, stop) == "help_path"


def test_io_that_ends_because_of_its_lines(engine: Engine) -> None:
    since = NOW - HOUR
    stop = Stop().usual().say(Failure("io", "exit-code", "1", False), since)
    assert cause_of(engine, stop.say(state("degraded", "io_silent", since, "technician", io="silent"), since)) == "io_wiring"


def test_several_contacts_that_flap(engine: Engine) -> None:
    stop = Stop().usual()
    for one in range(10):
        at = NOW - HOUR + one * 2 * MINUTE
        stop.say(Switch("door", "open" if one % 2 == 0 else "closed"), at)
        stop.say(Tamper("case", "found" if one % 2 == 0 else "over", moment(at)), at + 1000)
        stop.say(Help(f"p{one}", "pressed"), at + 2000)
    assert cause_of(engine, stop) == "water"


def test_one_contact_that_flaps(engine: Engine) -> None:
    stop = Stop().usual()
    for one in range(20):
        stop.say(Switch("door", "open" if one % 2 == 0 else "closed"), NOW - HOUR + one * 2 * MINUTE)
    assert cause_of(engine, stop) == "io_wiring"


def test_an_open_case_and_an_open_door(engine: Engine) -> None:
    at = NOW - 3 * HOUR
    case = Stop("city/stop-1").usual().say(Tamper("case", "found", moment(at)), at).say(Alarm("case", "open", ""), at)
    door = Stop("city/stop-2").usual().say(Switch("door", "open"), at)
    assert {one.node: one.cause for one in found(engine, [case, door, *well(9, "South")])} == {
        "city/stop-1": "case_open",
        "city/stop-2": "door_open",
    }


def test_an_opened_case_and_then_a_turned_camera(engine: Engine) -> None:
    at = NOW - 3 * HOUR
    stop = Stop().usual().say(Tamper("case", "found", moment(at)), at).say(Tamper("moved", "found", moment(at)), at + 4 * MINUTE)
    assert cause_of(engine, stop.say(Alarm("tamper", "moved", ""), at + 4 * MINUTE)) == "vandalism"


def test_a_configuration_that_is_refused(engine: Engine) -> None:
    stop = Stop().usual(records={"config": RecordInForce("1", None)})
    assert cause_of(engine, stop.say(Reported("config", "1", "ab", "refused", "version"), NOW - HOUR)) == "configuration"


def test_every_cause_has_a_test() -> None:
    """Named in this file."""
    text = open(__file__).read()  # noqa: PTH123, SIM115 - this file
    assert [one for one in CAUSES if f'"{one}"' not in text and one != UNKNOWN] == []
