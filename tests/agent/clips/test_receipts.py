"""Only the centre's receipt for these very bytes frees a clip (section 2 of the design)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from central.keys.keygen import signer
from privacy.errors import RecordError
from privacy.records.jws import Signer, sha256_hex, sign
from privacy.records.manifest import RECEIPT, Receipt
from tests.powercut.store import NODE, SITE, Film, Home, Store, enrol, opened_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    enrol(tmp_path / "home")
    with opened_store(tmp_path / "root", Home.load(tmp_path / "home")) as store:
        yield store


def sealed(store: Store) -> Film:
    film = store.film()
    film.begin()
    film.second(5000, 500)
    film.finish()
    return film


def receipt(store: Store, clip: str) -> Receipt:
    manifest = store.spool.manifest(clip)
    record = sha256_hex((store.spool.folder / clip / "manifest.jws").read_bytes())
    return Receipt(clip, "clip", SITE, NODE, record, manifest.files, store.now)


def take(store: Store, record: Receipt, by: Signer | None = None) -> None:
    store.keeper.receipt(sign(record, by or store.home.receipts, RECEIPT).decode())


def test_the_centres_receipt_frees_its_clip_once(store: Store) -> None:
    film = sealed(store)
    right = receipt(store, film.clip)
    take(store, right)
    assert store.spool.clips() == []
    with pytest.raises(RecordError, match="no such clip"):
        take(store, right)


def test_a_receipt_for_other_bytes_frees_nothing(store: Store) -> None:
    """Another manifest of this clip, or other files than it names: the centre holds something else."""
    film, other = sealed(store), sealed(store)
    right = receipt(store, film.clip)
    shorter = msgspec.structs.replace(right.files[0], size=right.files[0].size - 1)
    wrong = (
        msgspec.structs.replace(right, record_sha256=receipt(store, other.clip).record_sha256),
        msgspec.structs.replace(right, files=(shorter, *right.files[1:])),
        msgspec.structs.replace(right, files=right.files[:1]),
    )
    for record in wrong:
        with pytest.raises(RecordError, match="other bytes"):
            take(store, record)
    assert store.spool.clips() == sorted([film.clip, other.clip])


def test_nobody_but_the_receipt_key_frees_a_clip(store: Store, tmp_path: Path) -> None:
    """Not the node's own units, not another key of the centre."""
    film = sealed(store)
    for by in (*store.home.signers.values(), signer(tmp_path / "home/centre", "ops"), signer(tmp_path / "home/centre", "command")):
        with pytest.raises(RecordError):
            take(store, receipt(store, film.clip), by)
    assert store.spool.clips() == [film.clip]
