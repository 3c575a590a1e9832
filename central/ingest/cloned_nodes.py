"""Two nodes with one identity, seen in the chain that each manifest continues (`previous`).

Clips come in any order, and a power cut between a manifest and the note of its hash lets an honest node name one `previous`
twice. But that node goes on from one of the two only. So: two clips after one are a fork, which is noted; a fork whose both
arms go on was written by two (or a card was put back to an old image), whatever came first, and that is an alarm. A chain
that begins again is noted and never more: a new card does that, and from here it looks like a second one beside the old.
Evidence is never refused for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from central.store.port import Store, owner
from privacy.records.manifest import Manifest

_CHAIN, _FORKS = "_index/chain", "_index/forks"


@dataclass(frozen=True)
class Fork:
    """The other clip after the same one; `both` if both arms go on."""

    clip: str
    other: str
    both: bool


def trace(store: Store, manifest: Manifest, digest: str) -> Fork | None:
    """Note which clip continues which; the fork that this one begins, or proves. `digest`: SHA-256 of its signed manifest.

    Called below the node's lock. Asked again about the same clip it finds the same.
    """
    node, mine = owner(manifest), f"{manifest.clip} {digest}".encode()
    place = f"{_CHAIN}/{node}/{manifest.previous or 'first'}"
    first = store.get(place) or mine
    if first == mine:
        store.put(place, mine)
        return _proved(store, node, manifest)
    other, sibling = first.decode().split()
    if not manifest.previous:
        return Fork(manifest.clip, other, both=False)
    store.put(f"{_FORKS}/{node}/{digest}", sibling.encode())
    store.put(f"{_FORKS}/{node}/{sibling}", digest.encode())
    return Fork(manifest.clip, other, _goes_on(store, node, digest) and _goes_on(store, node, sibling))


def forget(store: Store, manifest: Manifest) -> None:
    """With the clip goes what names it; the chain's beginning stays, without which a second one would not be seen."""
    place = f"{_CHAIN}/{owner(manifest)}/{manifest.previous}"
    if manifest.previous and (store.get(place) or b"").startswith(manifest.clip.encode()):
        store.erase(place)


def _proved(store: Store, node: str, manifest: Manifest) -> Fork | None:
    """The fork whose second arm goes on with this clip."""
    sibling = store.get(f"{_FORKS}/{node}/{manifest.previous}") if manifest.previous else None
    if sibling is None or not _goes_on(store, node, sibling.decode()):
        return None
    other = (store.get(f"{_CHAIN}/{node}/{sibling.decode()}") or b"").decode().partition(" ")[0]
    return Fork(manifest.clip, other, both=True)


def _goes_on(store: Store, node: str, digest: str) -> bool:
    return store.get(f"{_CHAIN}/{node}/{digest}") is not None
