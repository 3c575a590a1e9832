"""The outbox between the node's processes and a real broker: what goes first, what a bad link costs, what a consumer can tell."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from agent.messages import Alarm, Health, Help, Message, State, Tombstone, decode
from agent.outbox.outbox import Waiting
from agent.outbox.topic_rank import rank_of
from agent.ranks import Rank
from agent.uplink.publisher import prepared
from drivers.clock import SystemClock
from tests.support.broker import Broker, Published, until
from tests.support.nodes import BIN
from tests.support.outboxes import DAY, HELP, FakeClock, outbox_at, tear, waiting
from tests.support.stop import Stop


def decoded(heard: Iterable[Published]) -> list[Message]:
    return [decode(one.payload.encode()) for one in heard if one.payload]


def told(messages: list[Message]) -> dict[str, set[int]]:
    """Numbers that tombstones named, by cause."""
    found: dict[str, set[int]] = {}
    for message in messages:
        if isinstance(message.body, Tombstone):
            for first, last in message.body.ranges:
                found.setdefault(message.body.cause, set()).update(range(first, last + 1))
    return found


def presses(messages: list[Message]) -> list[str]:
    return [message.body.press for message in messages if isinstance(message.body, Help)]


def restart(stop: Stop) -> None:
    """The will's number of a run is told at the next birth."""
    assert stop.end() == 0
    stop.start()
    until(lambda: stop.detail("connected"), "the uplink is connected")


# -- a bad link --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flapping_broker_loses_nothing(stop: Stop, broker: Broker) -> None:
    """Item 8, promise 3: a broker that comes and goes again and again under a steady stream of messages.

    All arrive, in the order of saying for each topic; what comes twice has the same id; every number of the epoch is heard or
    told, and no message was dropped.
    """
    done = threading.Event()
    puts: Counter[str] = Counter()

    def speak() -> None:
        outbox = stop.outbox()
        while not done.wait(0.01):
            tail = ("help", "system", "link")[puts.total() % 3]
            number = puts[tail]
            outbox.put(Help(f"{number}", "pressed") if tail == "help" else Health(tail, {"number": number}, {}))  # type: ignore[arg-type]
            puts[tail] += 1
        outbox.close()

    with broker.ear() as heard:
        stop.start()
        speaker = threading.Thread(target=speak)
        speaker.start()
        for turn in range(8):
            time.sleep(1.0 + turn % 3 * 0.5)
            broker.stop()
            time.sleep(0.2 + turn % 2)
            broker.start()
        until(lambda: min(puts[tail] for tail in ("help", "system", "link")) > 100, "enough is said")
        done.set()
        speaker.join()
        until(lambda: stop.outbox().pending() == 0, "nothing waits", 90)
        restart(stop)
        # The ear lost its link too, and is given what it missed when it is back.
        until(lambda: f"{puts['help'] - 1}" in presses(decoded(heard())), "the last press is heard", 60)
        until(lambda: not _unaccounted(decoded(heard())), "every number is heard or told", 60)
        messages = decoded(heard())
    _all_in_order(messages, puts)
    assert set(told(messages)) == {"will"}


def _unaccounted(messages: list[Message]) -> set[int]:
    """Numbers up to the last one heard of which a consumer knows nothing."""
    seqs = {message.envelope.seq for message in messages}.union(*told(messages).values())
    return set(range(1, max(seqs, default=1) + 1)) - seqs


def _all_in_order(messages: list[Message], puts: Counter[str]) -> None:
    ids: dict[int, str] = {}
    for message in messages:
        assert ids.setdefault(message.envelope.seq, message.envelope.id) == message.envelope.id
    assert list(dict.fromkeys(presses(messages))) == [f"{number}" for number in range(puts["help"])]
    for group in ("system", "link"):
        values = [message.body.values for message in messages if isinstance(message.body, Health) and message.body.group == group]
        numbers = [value["number"] for value in values if "number" in value]
        assert list(dict.fromkeys(numbers)) == list(range(puts[group]))


def test_a_press_goes_before_the_backlog_of_weeks(stop: Stop, broker: Broker) -> None:
    """Promise 5: help first, then state, presence, health; what expired meanwhile is told with its number once the link is back."""
    with broker.ear() as heard:
        broker.stop()
        stop.start()
        until(lambda: stop.detail("pending"), "the uplink writes its health")
        outbox = stop.outbox()
        outbox.put(*[Health("system", {"load": 0.5}, {})] * 2000)
        outbox.put(Help("pointless", "pressed"), expiry_s=0)
        outbox.put(Help("press-1", "pressed"), Alarm("help", "pressed", "press-1"))
        broker.start()
        until(lambda: "expired" in told(decoded(heard())), "the tombstone is heard", 30)
        until(lambda: outbox.pending() == 0, "nothing waits", 60)
        tails = [one.tail for one in heard()]
        gone = told(decoded(heard()))
    assert tails[:2] == ["event/help", "alarm/help"]
    assert tails.index("state") < 100
    assert [rank_of(tail) for tail in tails].index(Rank.TOMBSTONE) > 2000
    assert {cause: len(numbers) for cause, numbers in gone.items()} == {"expired": 1, "will": 1}


def test_a_database_that_breaks_under_the_uplink_costs_no_new_message(stop: Stop, broker: Broker) -> None:
    """Item 8: put aside while all run; the uplink follows into the new epoch and tells that the old one is lost."""
    outbox = stop.outbox()
    with broker.ear() as heard:
        stop.start()
        until(lambda: stop.detail("connected"), "the uplink is connected")
        outbox.put(*[Help(f"{number}", "pressed") for number in range(500)])
        until(lambda: outbox.pending() == 0, "nothing waits")
        old = outbox.epoch
        broker.stop()
        outbox.put(*[HELP] * 2000)
        outbox._file._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tear(stop.layout.outbox)
        other = stop.outbox()
        other.put(Help("after", "pressed"))
        assert other.epoch != old
        broker.start()
        until(lambda: presses(decoded(heard()))[-1] == "after", "the new epoch is heard", 60)
        until(lambda: "corrupt" in told(decoded(heard())), "the loss is told")
        messages = decoded(heard())
    lost = [message.body for message in messages if isinstance(message.body, Tombstone) and message.body.cause == "corrupt"]
    assert {one.epoch for one in lost} == {old}
    assert lost[0].ranges[0][1] >= 2500
    assert {message.envelope.epoch for message in messages} == {old, other.epoch}
    until(lambda: other.pending() == 0, "nothing waits")


def test_a_revoked_certificate_is_told_and_keeps_its_outbox(stop: Stop, broker: Broker) -> None:
    """R30: a node whose certificate the broker's list revokes goes on storing and says why nothing leaves; forgiven, all leaves."""
    broker.stop()
    config = broker.folder / "broker.conf"
    plain = config.read_text()
    config.write_text(plain.replace(f"crlfile {broker.centre.folder}/crl.pem", f"crlfile {_revoke(broker, stop)}"))
    broker.start()
    stop.start()
    stop.outbox().put(Help("press-1", "pressed"))
    until(lambda: (stop.status() or {})["standing"]["reason"] == "certificate_refused", "the reason is told")
    assert (stop.status() or {})["standing"]["owner"] == "ops"
    assert stop.outbox().pending() > 0
    # Before the node can get in: the press stands nowhere for who subscribes later.
    with broker.ear() as heard:
        broker.stop()
        config.write_text(plain)
        broker.start()
        until(lambda: presses(decoded(heard())) == ["press-1"], "it is heard", 60)


def _revoke(broker: Broker, stop: Stop) -> Path:
    """A list of revoked certificates with this node's, as a centre publishes it."""
    ca = x509.load_pem_x509_certificate(broker.centre.ca.read_bytes())
    key = serialization.load_pem_private_key((broker.centre.folder / "ca.key").read_bytes(), None)
    mine = x509.load_pem_x509_certificate((stop.layout.certificates / "tls.pem").read_bytes())
    now = datetime.now(UTC)
    gone = x509.RevokedCertificateBuilder().serial_number(mine.serial_number).revocation_date(now).build()
    made = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now).next_update(now + timedelta(days=1))
    path = broker.folder / "revoked.pem"
    signed = made.add_revoked_certificate(gone).sign(key, hashes.SHA256())  # type: ignore[arg-type]
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return path


# -- what is sent late -------------------------------------------------------------------------------------------------


class Booted(FakeClock):
    """A clock of some boot, with its own time since the start."""

    def __init__(self, boot: str, up_ms: int = 5_000) -> None:
        super().__init__()
        self.boot_id, self.up_ms = boot, up_ms

    def mono_ms(self) -> int:
        return self.up_ms


def _put_by(clock: SystemClock, folder: Path) -> Waiting:
    outbox = outbox_at(folder / "state.db", clock=clock)  # type: ignore[arg-type]
    outbox.put(Alarm("lens", "covered", ""), expiry_s=600)
    return waiting(outbox)[0]


@pytest.mark.parametrize(
    ("later", "left", "late"),
    [
        # The clock learns the time, 56 years on, in the same boot: nothing has aged but what the start's own clock says.
        ((timedelta(days=20_000), "one", 35_000), 570, False),
        ((timedelta(hours=-1), "one", 125_000), 480, True),
        ((timedelta(minutes=5), "two", 1_000), 300, True),
        ((timedelta(hours=1), "two", 1_000), -3000, True),
        # A clock behind its time after a start prolongs nothing beyond the message's own life.
        ((timedelta(days=-3), "two", 1_000), 600, False),
    ],
)
def test_age_and_remaining_life_survive_clocks_and_starts(
    tmp_path: Path, later: tuple[timedelta, str, int], left: int, late: bool
) -> None:
    """Item 4: the remaining expiry, and the mark of what is sent late, also of retained messages."""
    put = _put_by(Booted("one"), tmp_path)
    span, boot, up_ms = later
    now = Booted(boot, up_ms)
    now.time = DAY + span
    payload, remaining = prepared(put, now)
    assert remaining == left
    message, stored = decode(payload), decode(put.payload)
    assert message.envelope.hist is late
    assert (message.body, message.envelope.id, put.retain) == (stored.body, stored.envelope.id, True)


def test_a_late_state_says_so_and_the_last_word_stands(stop: Stop, broker: Broker) -> None:
    """Item 4: states of a week ago are history, in their order; who comes later finds the present one."""
    before = FakeClock()
    before.boot_id = "the boot before"
    outbox = stop.outbox(before)
    for reason in ("hours", "paused"):
        outbox.put(State("off", reason, DAY, None, "nobody", {}))
    with broker.ear(f"{stop.here}/state") as heard:
        stop.start()
        until(lambda: len(heard()) >= 3, "all are heard")
        states = [(one.envelope.hist, getattr(one.body, "reason", "")) for one in decoded(heard())]
    assert states[:2] == [(True, "hours"), (True, "paused")]
    assert not states[2][0]
    with broker.ear(f"{stop.here}/state") as later:
        until(later, "a state stands")
        assert not decoded(later())[0].envelope.hist


# -- for technicians ---------------------------------------------------------------------------------------------------


def lykta(stop: Stop, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "lykta", "--root", stop.root, "outbox", *words], capture_output=True, text=True, check=False)


def test_a_technician_sees_what_waits(stop: Stop, broker: Broker) -> None:
    """Item 4: by class, the oldest, the file's size, drops by cause, what is next, and one message; exit 4 without the uplink."""
    away = lykta(stop, "list")
    assert (away.returncode, "hint: systemctl status lykta-uplink" in away.stderr) == (4, True)
    broker.stop()
    stop.start()
    outbox = stop.outbox()
    outbox.put(Health("system", {"load": 0.5}, {}), Help("press-1", "pressed"))
    facts = json.loads(lykta(stop, "list", "--json").stdout)
    assert facts["schema"] == "lykta.outbox/1"
    assert facts["dropped"] == {"bound": 0, "thinned": 0, "expired": 0, "corrupt": 0, "set_aside": 0}
    assert facts["file_bytes"] > 4096
    [help_] = [one for one in facts["classes"] if one["class"] == "urgent"]
    assert (help_["rows"], datetime.fromisoformat(help_["oldest"]) <= datetime.now(UTC)) == (1, True)
    assert facts["pending"] == sum(one["rows"] for one in facts["classes"])
    following = facts["next"][0]
    assert (following["topic"], following["class"]) == ("event/help", "urgent")
    shown = json.loads(lykta(stop, "show", str(following["seq"]), "--json").stdout)
    assert (shown["schema"], shown["message"]["body"]["press"]) == ("lykta.outbox-message/1", "press-1")
    table = lykta(stop, "list").stdout
    assert all(word in table for word in ("urgent", "health", "dropped: bound", "event/help"))
    assert "body.press" in lykta(stop, "show", str(following["seq"])).stdout
    missing = lykta(stop, "show", "999999")
    assert (missing.returncode, "no such message" in missing.stderr) == (1, True)
