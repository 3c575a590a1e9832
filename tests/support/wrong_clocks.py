"""Wrong clocks of a process that runs under faketime."""

from __future__ import annotations

CLOCKS = {"1970": "@1970-01-01 00:05:00", "an hour back": "-1h", "an hour ahead": "+1h"}
# Time since the start of the machine goes on as it does, whatever the clock says.
STEADY = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
