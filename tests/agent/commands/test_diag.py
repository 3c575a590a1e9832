"""`lykta diag`: one file to attach to an issue; and what `--send` hands to the uplink."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from privacy.records.journal import Journal, head_of
from privacy.records.manifest import Parcel
from provisioning.identity import UNITS, load_signer
from tests.support.broker import PATIENCE, until
from tests.support.ingests import OddIngest
from tests.support.nodes import MODELS
from tests.support.stop import LYKTA, Stop


def lykta(stop: Stop, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    known = os.environ | {"LYKTA_ROOT": str(stop.root)} | environment
    return subprocess.run([LYKTA, *words], capture_output=True, text=True, timeout=PATIENCE * 60, check=False, env=known)


def diagnosis(stop: Stop) -> tuple[dict[str, Any], str]:
    out = stop.root.parent / "diag.json"
    done = lykta(stop, "diag", out, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said == {"schema": "lykta.diag-written/1", "file": str(out), "bytes": out.stat().st_size, "sent": None}
    return json.loads(out.read_text()), out.read_text()


def tree(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if not path.is_socket()}


def test_a_diagnosis_of_a_node_at_rest_says_what_there_is_and_changes_nothing(stop: Stop) -> None:
    """Services that do not answer, a config, two clips, chains: each in its place, and what cannot be read with its reason."""
    clips = [stop.seal_clip(1000), stop.seal_clip(2000)]
    (stop.layout.spool / clips[0] / "hold.jws").write_text("an order")
    Journal(stop.layout.journal("io"), "io", load_signer(stop.layout, "io"), lambda: datetime.now(UTC)).append("service_on")
    before = tree(stop.root)
    found, _ = diagnosis(stop)
    assert tree(stop.root) == before
    assert found["schema"] == "lykta.diag/1"
    sizes = sum(path.stat().st_size for path in stop.layout.spool.glob("*/*.age"))
    assert found["clips"] == {"complete": 2, "bytes": sizes, "receipts_in_inbox": 0, "hold": 1, "export": 0}
    assert found["services"] == {"camera": None, "io": None, "uplink": None}
    assert "is not running" in found["unreadable"]["services.camera"]
    assert found["outbox"] == {"pending": None, "bytes": 0}
    assert found["heads"] == {unit: str(head_of(stop.layout.journal(unit))) for unit in UNITS}
    assert found["heads"]["io"].startswith("1:")
    assert found["config"]["upload"]["what"] == "events"
    assert {"lykta", "cryptography", "msgspec"} <= found["versions"].keys()
    assert {one["group"] for one in found["findings"]} >= {"config", "keys", "records", "services"}


def test_no_picture_no_clip_and_no_key_is_in_it(stop: Stop) -> None:
    """R30, R37: nor the id of a clip, which holds the time at which somebody was there."""
    clip = stop.seal_clip(1000)
    _, text = diagnosis(stop)
    secrets = [line for path in stop.root.rglob("*.key") for line in path.read_text().splitlines() if not line.startswith("-")]
    assert len(secrets) > 10
    sealed = (stop.layout.spool / clip / "clip.age").read_bytes()
    assert not any(secret in text for secret in secrets)
    assert base64.b64encode(sealed).decode()[:40] not in text
    for mark in ("PRIVATE KEY", "age-encryption.org", "/9j/", "iVBOR", clip):
        assert mark not in text


def test_a_broken_configuration_is_a_finding(stop: Stop) -> None:
    stop.layout.config.write_text("[node\n")
    found, _ = diagnosis(stop)
    assert found["config"] is None
    assert "not TOML" in found["unreadable"]["config"]
    assert [one["result"] for one in found["findings"]] == ["fail"]


def test_what_is_sent_is_what_was_written(stop: Stop, odd: OddIngest) -> None:
    stop.neighbour("camera")
    stop.start()
    until(lambda: stop.detail("upload_error") is not None, "the uploader runs", 40)
    out = stop.root.parent / "diag.json"
    done = lykta(stop, "diag", out, "--send", "--json")
    assert done.returncode == 0, done.stderr
    sent = json.loads(done.stdout)["sent"]
    until(lambda: f"/{sent}/diag.json/0" in odd.parts, "the centre has it", 40)
    assert odd.parts[f"/{sent}/diag.json/0"] == out.read_bytes()
    assert json.loads(out.read_text())["services"]["uplink"]["standing"]["state"]


def test_without_an_uplink_the_file_is_there_all_the_same(stop: Stop) -> None:
    out = stop.root.parent / "diag.json"
    done = lykta(stop, "diag", out, "--send")
    assert done.returncode == 4
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: uplink: is not running")
    assert hint.startswith("hint: ")
    assert json.loads(out.read_text())["schema"] == "lykta.diag/1"
    assert lykta(stop, "diag", stop.root / "no/such/folder/diag.json").returncode == 1


def test_a_self_test_is_handed_in_as_a_report(stop: Stop, odd: OddIngest) -> None:
    stop.start()
    until(lambda: stop.detail("upload_error") is not None, "the uploader runs", 40)
    report = stop.root.parent / "report.json"
    done = lykta(stop, "selftest", "--models", MODELS, "--report", report, "--send")
    assert done.returncode in (0, 1), done.stderr
    until(lambda: any(path.endswith("/selftest.json/0") for path in odd.parts), "the centre has it", 40)
    (name,) = odd.announced
    record = odd.records[name][0]
    assert isinstance(record, Parcel)
    assert (record.kind, record.files[0].name) == ("report", "selftest.json")
    assert json.loads(odd.parts[f"/{name}/selftest.json/0"]) == json.loads(report.read_text())
