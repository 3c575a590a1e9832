"""What a service remembers of commands within a boot (17.6)."""

from __future__ import annotations

from pathlib import Path

from agent.runtime.commands.memory import MOST_OPEN, CommandMemory
from privacy.records.command import Command


def command(number: int) -> Command:
    return Command("clip", "city", "stop-1", f"id-{number}", {}, "boot", number, 10)


def test_a_new_process_knows_the_last_number_and_what_was_begun(tmp_path: Path) -> None:
    path = tmp_path / "last-command.json"
    memory = CommandMemory(path, "boot")
    assert (memory.last, memory.before) == (0, {})
    assert memory.take(command(1))
    assert memory.take(command(2))
    assert (memory.finish("id-1"), memory.finish("id-1")) == (True, False), "one final answer each"
    again = CommandMemory(path, "boot")
    assert (again.last, list(again.before)) == (2, ["id-2"])
    assert not again.is_open("id-2"), "the old process's commands are answered once, by `back`"
    assert again.take(command(3))
    assert list(CommandMemory(path, "boot").before) == ["id-3"]


def test_another_boot_and_a_damaged_file_remember_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last-command.json"
    CommandMemory(path, "boot").take(command(7))
    assert CommandMemory(path, "another").last == 0
    path.write_bytes(b"{")
    assert CommandMemory(path, "boot").last == 0


def test_the_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last-command.json"
    path.write_text('{"boot_id":"boot","number":9}')
    assert CommandMemory(path, "boot").last == 9


def test_the_number_counts_also_where_it_cannot_be_stored(tmp_path: Path) -> None:
    memory = CommandMemory(tmp_path / "away/last-command.json", "boot")
    assert not memory.take(command(5))
    assert memory.last == 5
    assert memory.is_open("id-5")


def test_open_commands_are_bounded(tmp_path: Path) -> None:
    memory = CommandMemory(tmp_path / "last-command.json", "boot")
    for number in range(MOST_OPEN):
        memory.take(command(number + 1))
        assert not memory.full
    memory.take(command(1000))
    assert memory.full
    memory.finish("id-1000")
    assert not memory.full
