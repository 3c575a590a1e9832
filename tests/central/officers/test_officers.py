"""Officers, their rights and their access log, as `lykta-central` has them (R32, R33b, R43)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from central.keys.access_log import DEED, Deed
from central.keys.key_folder import signer
from central.keys.officers import RIGHTS
from privacy.records.journal import Entry, Journal
from privacy.records.jws import sha256_hex, sign
from tests.support.access_log import last, log
from tests.support.clips import Node, central, made, refused

# -- roles ------------------------------------------------------------------------------------------------------------


def test_roles_say_who_may_what(keys: Path) -> None:
    """And each change is signed by the CA, numbered, and in the access log."""
    said = json.loads(made("officer", keys, "--json"))
    assert (said["number"], said["officers"]) == (2, {"officer-1": [*RIGHTS], "eva-ek": ["open"]})
    made("officer", keys, "eva-ek", "--may", "order", "--may", "export")
    assert last(keys).facts["rights"] == "export order"
    assert json.loads(made("officer", keys, "--json"))["officers"]["eva-ek"] == ["export", "order"]
    made("officer", keys, "eva-ek", "--remove")
    assert json.loads(made("officer", keys, "--json"))["officers"] == {"officer-1": [*RIGHTS]}
    assert "officer-1            open export order sign command" in made("officer", keys)
    refused(2, "may: must be open, export, order", "officer", keys, "eva-ek", "--may", "everything")
    refused(2, "--may or --remove", "officer", keys, "eva-ek")
    refused(2, "must be lower case", "officer", keys, "../eva", "--may", "open")


def test_roles_that_the_ca_did_not_sign_give_no_right(keys: Path, node: Node, tmp_path: Path) -> None:
    made("keygen", tmp_path / "other", "--officer", "mallory")
    shutil.copy(tmp_path / "other/roles.jws", keys / "roles.jws")
    refused(5, "lykta-roles: signed by a key that is not trusted", "open", node.clip(), "--keys", keys, "-o", tmp_path / "x.mp4")


def test_an_older_list_put_back_is_found(keys: Path) -> None:
    """R32: the CA signed it once, and one who was dismissed may have kept it; the access log remembers."""
    old = (keys / "roles.jws").read_bytes()
    made("officer", keys, "eva-ek", "--remove")
    made("verify", keys / "access", "--keys", keys)
    (keys / "roles.jws").write_bytes(old)
    refused(5, "roles: the list in force is number 2, the access log has number 3", "verify", keys / "access", "--keys", keys)


def test_who_has_the_right_opens_and_is_noted(keys: Path, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R32: by name, by LYKTA_OFFICER, and with the officer's own signature over clip and manifest."""
    folder = node.clip()
    made("open", folder, "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "a.mp4")
    monkeypatch.setenv("LYKTA_OFFICER", "officer-1")
    made("open", folder, "--keys", keys, "-o", tmp_path / "b.mp4")
    one, two = log(keys).entries[-2:]
    assert (one.kind, one.facts["officer"], one.facts["clip"]) == ("open", "eva-ek", folder.name)
    assert one.facts["manifest_sha256"] == sha256_hex((folder / "manifest.jws").read_bytes())
    assert two.facts["officer"] == "officer-1"
    assert "entries, head" in made("verify", keys / "access", "--keys", keys)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eva-ek", "officer: 'eva-ek' may not export"),
        ("mallory", "officer: 'mallory' may not export"),
        ("../officer-1", "officer: '../officer-1' may not export"),
    ],
)
def test_who_has_no_right_is_refused_and_noted(keys: Path, node: Node, tmp_path: Path, name: str, said: str) -> None:
    """R32, R43: exit 6, and the attempt stands in the access log though no officer signs it."""
    folder = node.clip()
    why = ["--ground", "accident", "--case", "K 1", "--decided", "Åke Öst", "--to", "Polisen"]
    refused(6, said, "export", folder, "--keys", keys, "--as", name, *why, "-o", tmp_path / "out")
    assert (last(keys).kind, last(keys).facts["claimed"], last(keys).facts["clips"]) == ("refused", name, folder.name)
    assert not (tmp_path / "out").exists()
    made("verify", keys / "access", "--keys", keys)


def test_a_right_without_the_key_is_none(keys: Path, node: Node, tmp_path: Path) -> None:
    """Whoever names an officer must have that officer's key: none, another's, or one that another CA certified is refused."""
    folder, officers = node.clip(), keys / "officers"
    words = ["open", folder, "--keys", keys, "-o", tmp_path / "x.mp4", "--as"]
    refused(2, "as: must name the officer: 2 have keys here", *words[:-1])
    for name in ("key", "pem"):
        shutil.copy(officers / f"eva-ek.{name}", officers / f"officer-1.{name}")
    refused(6, "the key is eva-ek's", *words, "officer-1")
    made("keygen", tmp_path / "other", "--officer", "eva-ek")
    for name in ("key", "pem"):
        shutil.copy(tmp_path / f"other/officers/eva-ek.{name}", officers / f"eva-ek.{name}")
    refused(6, "not of this centre", *words, "eva-ek")
    (officers / "officer-1.key").unlink()
    refused(6, "No such file", *words, "officer-1")
    assert [entry.kind for entry in log(keys).entries[-3:]] == ["refused"] * 3
    assert not (tmp_path / "x.mp4").exists()


def test_a_nodes_key_makes_no_officer(keys: Path, node: Node, tmp_path: Path) -> None:
    for name in ("key", "pem"):
        shutil.copy(node.layout.credentials / f"camera.{name}", keys / f"officers/officer-1.{name}")
    refused(6, "role 'camera', not 'officer'", "open", node.clip(), "--keys", keys, "--as", "officer-1", "-o", tmp_path / "x.mp4")


# -- the access log ---------------------------------------------------------------------------------------------------


def rewrite(keys: Path, change: Callable[[Entry], Entry | None]) -> None:
    """The access log as somebody with the centre's own log key could write it anew, every link and signature right."""
    entries = [after for entry in log(keys).entries if (after := change(entry))]
    shutil.rmtree(keys / "access")
    times = [entry.t for entry in entries]
    journal = Journal(keys / "access", "access", signer(keys, "access"), lambda: times.pop(0))
    for entry in entries:
        journal.append(entry.kind, **entry.facts)


def test_nobody_can_write_an_officers_deed(keys: Path, node: Node, tmp_path: Path) -> None:
    """R32: the log's own key makes a chain whose links hold, but not an officer's signature."""
    folder, access = node.clip(), keys / "access"
    for name in ("eva-ek", "officer-1"):
        made("open", folder, "--keys", keys, "--as", name, "-o", tmp_path / f"{name}.mp4")
    before, backup = log(keys), shutil.copytree(access, tmp_path / "backup")
    number = len(before.entries) - 2

    def changed(**facts: Any) -> Callable[[Entry], Entry]:
        return lambda one: msgspec.structs.replace(one, facts=one.facts | facts) if one.number == number else one

    other = before.entries[number + 1].facts
    forged = sign(Deed("eva-ek", "open", datetime.now(UTC), {}), signer(keys, "access"), DEED).decode()
    spoils: list[Callable[[Entry], Entry | None]] = [
        changed(clip="another"),
        changed(officer="officer-1"),
        changed(deed=None),
        changed(deed=forged),
        changed(deed=other["deed"]),
        changed(**other),
    ]
    for spoil in spoils:
        rewrite(keys, spoil)
        done = central("verify", access, "--keys", keys)
        assert done.returncode == 5
        assert f"entry {number}" in done.stderr or f"entry {number + 1}: deed: is already in an earlier entry" in done.stderr
        shutil.rmtree(access)
        shutil.copytree(backup, access)
    made("verify", access, "--keys", keys)


def test_a_deed_taken_out_of_the_log_is_found_by_its_head(keys: Path, node: Node, tmp_path: Path) -> None:
    """R32: whoever has the log's key can leave an entry out; a head that an export's protocol names, or an officer noted, tells."""
    made("open", node.clip(), "--keys", keys, "--as", "eva-ek", "-o", tmp_path / "x.mp4")
    head = f"access={log(keys).head}"
    made("verify", keys / "access", "--keys", keys, "--head", head)
    rewrite(keys, lambda entry: None if entry.kind == "open" else entry)
    made("verify", keys / "access", "--keys", keys)
    refused(5, "saw", "verify", keys / "access", "--keys", keys, "--head", head)


def test_several_at_once_share_one_log(keys: Path, node: Node, tmp_path: Path) -> None:
    """No entry is lost or torn where officers open at the same time."""
    folders = [node.clip() for _ in range(4)]
    before = len(log(keys).entries)

    def opened(number: int) -> None:
        made("open", folders[number], "--keys", keys, "--as", "eva-ek", "-o", tmp_path / f"{number}.mp4")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(opened, range(4)))
    entries = log(keys).entries[before:]
    assert sorted(str(entry.facts["clip"]) for entry in entries) == sorted(folder.name for folder in folders)
