"""`lykta check security`: what would let a stranger in; off a Pi and without root it says what it could not see (R41)."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.check_security import security
from provisioning.layout import Layout


def test_it_never_crashes_on_this_machine() -> None:
    found = security(Layout(Path("/")))
    assert len(found) >= 8
    assert all(one.hint for one in found if one.result != "ok")


@pytest.mark.parametrize("name", ["tls.key", "camera.cred", "tls.previous.cred"])
def test_a_node_in_a_folder(tmp_path: Path, name: str) -> None:
    key = tmp_path / "etc/lykta/credentials" / name
    key.parent.mkdir(parents=True)
    key.write_text("x")
    key.chmod(0o644)
    drop_in = tmp_path / "etc/systemd/system/lykta-camera.service.d/more.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\n")
    (tmp_path / "etc/shadow").write_text("root:*:1::::::\npi:$y$x:1::::::\n")
    found = {one.what.split(":")[0]: one for one in security(Layout(tmp_path))}
    assert (found["credentials"].result, found["units"].result, found["accounts"].result) == ("fail", "warn", "warn")
    assert name in found["credentials"].what
    assert "pi" in found["accounts"].what
