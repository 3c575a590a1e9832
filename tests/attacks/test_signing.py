"""14.A1: what is given to `lykta-central sign` is of another desk: refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.clips import central, example, made


def test_a_zone_without_corners_is_refused(tmp_path: Path) -> None:
    """It has no inside: signed, it ended the camera at each start."""
    made("keygen", tmp_path / "keys")
    view = json.loads(example("view", "city/stop-1")) | {"zones": [[]]}
    (tmp_path / "view.json").write_text(json.dumps(view))
    done = central("sign", "view", tmp_path / "view.json", "--keys", tmp_path / "keys", "-o", tmp_path / "view.jws")
    assert done.returncode == 5
    assert done.stderr.startswith("error: ")
    assert "zones" in done.stderr
