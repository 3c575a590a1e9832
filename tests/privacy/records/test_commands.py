"""Whether a command is obeyed: a pure decision, judged against the rules in other words (17.6)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.records.command import LONGEST_MS, Command, Decision, Situation, decide
from privacy.records.command_table import COMMANDS, REASONS, SERVICES, Act, act_of, all_arguments, arguments_of, service_of
from provisioning.layout import CODE

GOOD: dict[str, dict[str, str]] = {
    "ack": {"press": "p1"},
    "light": {"state": "on", "minutes": "5"},
    "clip": {"seconds": "10"},
    "upload": {"clip": "01890000-0000-7000-8000-000000000001"},
    "pause": {"minutes": "30"},
    "restart": {"service": "io"},
    "log-level": {"service": "camera", "level": "debug"},
}
TIME = st.integers(0, 200_000)
WORDS = st.sampled_from(
    ["", "on", "io", "camera", "1", "0", "-1", "01", "1.0", "1e1", "９", "481", "debug", "x" * 256, "null", "true"]
)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    name = draw(st.sampled_from([*COMMANDS, "reboot"]))
    args = dict(GOOD.get(name, {}))
    if draw(st.booleans()):
        args |= draw(
            st.dictionaries(st.sampled_from(["minutes", "state", "service", "seconds", "note", "level"]), WORDS, max_size=2)
        )
    boot, number, end_ms = draw(st.sampled_from(["now", "before"])), draw(st.integers(1, 4)), draw(TIME)
    return Command(name, "city", "stop-1", "id", args, boot, number, end_ms)


SITUATIONS = st.builds(Situation, st.sampled_from(SERVICES), st.just("now"), TIME, st.integers(0, 4))


@given(commands(), SITUATIONS)
def test_only_a_new_timely_well_formed_command_of_this_boot_and_service_is_obeyed(command: Command, now: Situation) -> None:
    decision = decide(command, now)
    mine = command.boot_id == now.boot_id and service_of(command.name, command.args) == now.service
    new = mine and command.number > now.last
    timely = now.now_ms <= command.end_ms <= now.now_ms + LONGEST_MS
    assert decision.new == new
    assert (decision.act is not None) == (decision.reason == "") == (new and timely and formed(command))
    # The same command is never obeyed again, however much later, as its number is then the last.
    again = decide(command, Situation(now.service, now.boot_id, now.now_ms, max(now.last, command.number)))
    assert (again.act, again.new) == (None, False)


@given(commands(), SITUATIONS)
def test_one_service_at_most_obeys(command: Command, now: Situation) -> None:
    found = [decide(command, Situation(one, now.boot_id, now.now_ms, now.last)) for one in SERVICES]
    assert sum(one.act is not None for one in found) <= 1
    assert sum(one.new for one in found) <= 1


def formed(command: Command) -> bool:
    """By hand: each argument known, and in its range."""
    minutes = {"light": 1440, "pause": 480, "log-level": 60}.get(command.name, 0)
    checks: dict[str, Any] = {
        "minutes": lambda text: text in {str(n) for n in range(1, minutes + 1)},
        "seconds": lambda text: text in {str(n) for n in range(1, 61)},
        "state": lambda text: text in ("on", "off"),
        "service": lambda text: text in SERVICES,
        "level": lambda text: text in ("debug", "info", "warning", "error"),
        "press": lambda text: 0 < len(text) <= 256,
        "clip": lambda text: text == GOOD["upload"]["clip"],
    }
    kind = COMMANDS.get(command.name)
    if kind is None or not set(GOOD.get(command.name, {})) <= set(command.args):
        return False
    return all(key in arguments_of(kind) and checks[key](text) for key, text in command.args.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_taken_in_its_plainest_form(name: str) -> None:
    act = act_of(name, GOOD.get(name, {}))
    assert isinstance(act, Act)
    service = service_of(name, GOOD.get(name, {}))
    command = Command(name, "city", "stop-1", "id", GOOD.get(name, {}), "now", 2, 10)
    assert decide(command, Situation(service, "now", 5, 1)) == Decision(act, "", new=True)


def test_the_description_says_each_argument() -> None:
    said = all_arguments()
    assert said.keys() == COMMANDS.keys()
    assert said["light"] == {"state": "on|off", "minutes": "1..1440, else 10"}
    assert said["restart"] == {"service": "camera|io|uplink"}
    assert said["ping"] == {}


def test_the_page_about_commands_is_the_table() -> None:
    page = (CODE / "docs/COMMANDS.md").read_text().splitlines()
    for name, kind in COMMANDS.items():
        args = "<br>".join(f"`{key}` {text}".replace("|", "\\|") for key, text in arguments_of(kind).items()) or "none"
        assert f"| `{name}` | {kind.by or 'the service named'} | {args} | {kind.text} |" in page
    rows = {line.split("`")[1] for line in page if line.startswith("| `")}
    assert rows == {*COMMANDS, *REASONS}
    assert {f"| `{reason}` | {text} |" for reason, text in REASONS.items()} <= set(page)


@pytest.mark.parametrize("text", ["10.0", "1e1", "010", "+10", " 10", "1_0", "٣", "true", "null", ""])
def test_there_is_one_text_for_each_number(text: str) -> None:
    """Who reads a signed command in a log sees what the node did."""
    with pytest.raises(ValueError, match="minutes"):
        act_of("light", {"state": "on", "minutes": text})
