"""Detects two nodes with one identity by the chain of manifests, each of which names the hash of the one before (`previous`).

Clips arrive in any order. After a power cut an honest node may name the same `previous` in two manifests, but it continues
only one of the two. So two clips with one `previous` are a fork, which goes into the journal; a fork of which both branches
are continued was made by two nodes (or by a card restored from an old image) and raises an alarm. A chain that begins again
goes into the journal only: a new card causes that. No clip is refused for any of this.
"""

from __future__ import annotations

from dataclasses import dataclass

from central.store.port import Store, owner
from privacy.records.manifest import Manifest

_CHAIN, _FORKS = "_index/chain", "_index/forks"


@dataclass(frozen=True)
class Fork:
    """Two clips with the same `previous`. both: whether both branches are continued."""

    clip: str
    other: str
    both: bool


def add_to_chain(store: Store, manifest: Manifest, digest: str) -> Fork | None:
    """Add a clip to its node's chain; returns the fork that it begins or continues, None if there is none.

    digest: SHA-256 of the signed manifest, hex. The caller holds the node's lock. The same clip gives the same result again.
    """
    node, mine = owner(manifest), f"{manifest.clip} {digest}".encode()
    place = f"{_CHAIN}/{node}/{manifest.previous or 'first'}"
    first = store.get(place) or mine
    if first == mine:
        store.put(place, mine)
        return _proven_fork(store, node, manifest)
    other, sibling = first.decode().split()
    if not manifest.previous:
        return Fork(manifest.clip, other, both=False)
    store.put(f"{_FORKS}/{node}/{digest}", sibling.encode())
    store.put(f"{_FORKS}/{node}/{sibling}", digest.encode())
    return Fork(manifest.clip, other, _is_continued(store, node, digest) and _is_continued(store, node, sibling))


def remove_from_chain(store: Store, manifest: Manifest) -> None:
    """Remove a deleted clip from the chain. The first entry of a chain stays, or a second beginning could not be detected."""
    place = f"{_CHAIN}/{owner(manifest)}/{manifest.previous}"
    if manifest.previous and (store.get(place) or b"").startswith(manifest.clip.encode()):
        store.erase(place)


def _proven_fork(store: Store, node: str, manifest: Manifest) -> Fork | None:
    """The fork whose second branch this clip continues, None if there is none."""
    sibling = store.get(f"{_FORKS}/{node}/{manifest.previous}") if manifest.previous else None
    if sibling is None or not _is_continued(store, node, sibling.decode()):
        return None
    other = (store.get(f"{_CHAIN}/{node}/{sibling.decode()}") or b"").decode().partition(" ")[0]
    return Fork(manifest.clip, other, both=True)


def _is_continued(store: Store, node: str, digest: str) -> bool:
    return store.get(f"{_CHAIN}/{node}/{digest}") is not None
