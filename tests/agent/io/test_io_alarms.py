"""What stood at the broker by io's word is on the disk as soon as the disk takes it."""

from __future__ import annotations

from pathlib import Path

from agent.io.alarms import StandingAlarms
from agent.messages import Alarm
from agent.outbox.backlog import Backlog


def test_an_alarm_that_the_disk_refused_once_is_written_when_it_takes_it(tmp_path: Path) -> None:
    """The second try found it already known, and wrote nothing: after a restart nobody ended it."""
    path = tmp_path / "away" / "alarms.json"
    alarms, later = StandingAlarms(path), Backlog()
    later.add(lambda: alarms.raised(Alarm("help_button", "jammed", "here")))
    assert later.trouble
    path.parent.mkdir()
    later.retry()
    assert later.trouble is None
    assert StandingAlarms(path).before == {"alarm/help_button": "here"}


def test_a_torn_file_is_said_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "alarms.json"
    path.write_bytes(b'{"alarm/case"')
    alarms = StandingAlarms(path)
    assert "not JSON" in alarms.trouble
    assert alarms.before == {}
    assert StandingAlarms(tmp_path / "none").trouble == ""
