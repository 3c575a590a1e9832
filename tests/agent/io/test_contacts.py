"""14.E18: contacts that chatter, by properties: what stands is told, a press waits for nobody, one costs no other anything."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.io.contacts import LONGEST_REST_MS, RESTS, Contact, Contacts, decided, seen
from drivers.gpio.port import INPUTS, Input

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 3_000), st.booleans()), max_size=60)
"""Seen closed or open; ms until then; whether the changes are taken after it."""
RESTING = st.sampled_from([0, 500])


def worked(contact: Contact, steps: list[tuple[bool, int, bool]]) -> tuple[Contact, list[tuple[int, bool]], int]:
    """A contact after these steps, what was told when, and the time."""
    now_ms, told = 1, []
    for closed, pause_ms, take in steps:
        now_ms += pause_ms
        contact = seen(contact, closed)
        if take:
            contact, changes = decided(contact, now_ms)
            told += [(now_ms, change) for change in changes]
    return contact, told, now_ms


@given(STEPS, RESTING, st.booleans())
def test_how_it_stands_at_last_is_told(steps: list[tuple[bool, int, bool]], rest_ms: int, normal: bool) -> None:
    """However it chattered: after the longest rest what was told last is how it stands."""
    contact, told, now_ms = worked(Contact(normal, normal, rest_ms), steps)
    contact, changes = decided(contact, now_ms + LONGEST_REST_MS)
    last = [*(closed for _, closed in told), *changes][-1:] or [normal]
    assert last == [contact.closed] == [steps[-1][0] if steps else normal]
    assert decided(contact, now_ms + 2 * LONGEST_REST_MS) == (contact, ())


@given(STEPS, RESTING, st.booleans())
def test_what_is_told_alternates_and_nothing_is_invented(steps: list[tuple[bool, int, bool]], rest_ms: int, normal: bool) -> None:
    _, told, _ = worked(Contact(normal, normal, rest_ms), steps)
    levels = [normal, *(closed for _, closed in told)]
    assert all(one != other for one, other in pairwise(levels))
    if all(closed == normal for closed, _, _ in steps):
        assert told == []


@given(STEPS)
def test_a_press_counts_at_its_first_edge(steps: list[tuple[bool, int, bool]]) -> None:
    """A help button never rests: closed, even for no time, is told as soon as the changes are taken."""
    contact, _, now_ms = worked(Contact(False, False, 0), steps)
    contact, _ = decided(seen(contact, False), now_ms)
    _, changes = decided(seen(seen(contact, True), False), now_ms)
    assert changes == (True, False)


@given(st.lists(st.integers(1, 100), min_size=50, max_size=400))
def test_one_that_chatters_tells_ever_less(pauses_ms: list[int]) -> None:
    """Twice a telling, and between tellings a rest that doubles: at most a few messages whatever the rate."""
    steps = [(number % 2 == 0, pause_ms, True) for number, pause_ms in enumerate(pauses_ms)]
    _, told, now_ms = worked(Contact(False, False, 500), steps)
    times = sorted({when for when, _ in told})
    assert len(told) <= 2 * len(times)
    assert all(later - before >= 500 for before, later in pairwise(times))
    assert len(times) <= 2 + int(now_ms / 500 + 1).bit_length()


@given(st.lists(st.tuples(st.sampled_from([part for part in INPUTS if part != "help_button"]), st.booleans()), max_size=300))
def test_no_contact_costs_another_a_press(others: list[tuple[Input, bool]]) -> None:
    contacts = Contacts(INPUTS, {})
    for number, (part, closed) in enumerate(others):
        contacts.edge(part, closed)
        if number == len(others) // 2:
            contacts.edge("help_button", True)
            contacts.edge("help_button", False)
    if not others:
        contacts.edge("help_button", True)
    told = list(contacts.changes(10))
    assert told[0] == ("help_button", True)
    assert {part for part, _ in told} - RESTS <= {"help_button", *(part for part, _ in others)}


def test_a_lost_edge_is_seen_by_the_next_look() -> None:
    """Whatever the kernel's buffer dropped: how a contact stands is read, too."""
    contacts = Contacts(["help_button", "door"], {})
    contacts.look(lambda part: part == "help_button")
    assert list(contacts.changes(10)) == [("help_button", True), ("door", False)]
    assert list(contacts.changes(20)) == []


def test_a_button_of_which_the_start_is_no_change() -> None:
    """Nobody holds a service button that was closed before anybody watched: no visit begins by itself."""
    contacts = Contacts(["service_button"], {"service_button": True})
    contacts.look(lambda _: True)
    assert list(contacts.changes(10)) == []
