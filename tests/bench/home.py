"""The drawn bus stop through the engine: how long everything was masked, by cause, and what the view guard said."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from privacy.records.basis import Profile
from tests.support.home import DAY, NIGHT, shots, watch

RUNS: tuple[tuple[str, bool, Profile, float], ...] = (
    ("day", False, "standard", 0.02), ("day", False, "strict", 0.02),
    ("night", True, "standard", 0.10), ("night", True, "strict", 0.10),
)  # fmt: skip
SECONDS = 1240


def lines() -> Iterator[str]:
    """A row for each run, as Markdown would have it."""
    yield "| home scene, 20 minutes | all masked | at most | by cause | tamper | people's pixels bare | mean masked share |"
    yield "|---|---|---|---|---|---|---|"
    for name, night, profile, bound in RUNS:
        found = watch(shots(NIGHT if night else DAY, SECONDS, night=night), profile)
        causes = ", ".join(f"{cause} {number}" for cause, number in found.full.items() if number) or "none"
        tampers = ", ".join(kind for kind, _ in found.tampers if kind) or "none"
        share = found.full.total() / found.frames
        yield f"| {name}, {profile} | {share:.1%} | {bound:.0%} | {causes} | {tampers} | {found.bare} | {found.painted:.0%} |"


def main() -> int:
    for line in lines():
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
