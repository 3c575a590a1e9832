"""Requests to a service over its sockets, and their answers: one type each. The verb is the type's tag.

uplink   for the uplink: signed input from the centre, and the heads of other units' journals
ctl      for technicians, who are in the group lykta-cli
setup    for the visit's page
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from agent.messages import StateName
from agent.outbox import remote
from agent.outbox.schema import GREATEST
from agent.runtime.control import Request
from privacy.foreign import END

Code = Annotated[str, Meta(pattern=r"^[a-z0-9_]{0,64}" + END)]


# -- camera and io, for the uplink -------------------------------------------------------------------------------------


class Freed(Struct, frozen=True):
    """freed: whether the clip was deleted; False while it is under a hold."""

    freed: bool


class GiveReceipt(Request[Freed], frozen=True, tag="receipt"):
    """The centre's signed receipt for a clip."""

    answer = Freed
    jws: str


class OrderAnswered(Struct, frozen=True):
    """answer: signed by the camera's unit."""

    answer: str


class GiveOrder(Request[OrderAnswered], frozen=True, tag="order"):
    """An order that the centre signed."""

    answer = OrderAnswered
    jws: str


class HeadsNoted(Struct, frozen=True):
    """How many were noted: none within an hour of the last."""

    noted: int


class TellHeads(Request[HeadsNoted], frozen=True, tag="heads"):
    """Heads of the other units' journals: by unit, a number and a hash, or a whole signed line."""

    answer = HeadsNoted
    heads: dict[str, str]


class CommandTaken(Struct, frozen=True, omit_defaults=True):
    """obeyed: whether the service executes it; reason: why not, for a repeated command."""

    obeyed: bool
    reason: Code = ""


class GiveCommand(Request[CommandTaken], frozen=True, tag="command"):
    """A command that the centre signed. name: from its topic."""

    answer = CommandTaken
    jws: str
    name: str = ""


class AskOutbox(Request[remote.Answer], frozen=True, tag="outbox"):
    """A request to io's outbox, from the uplink; its type determines the type of the answer."""

    answer = remote.Answer
    ask: remote.Ask


# -- for technicians ---------------------------------------------------------------------------------------------------


class ReferencePicture(Struct, frozen=True):
    """kind: state of the view, "" as known; hides: whether all is masked because of it; jpeg: of masked frames."""

    kind: Code
    hides: bool
    jpeg: bytes


class ShowView(Request[ReferencePicture], frozen=True, tag="view"):
    """The reference picture of the empty stop."""

    answer = ReferencePicture


class Confirmed(Struct, frozen=True):
    confirmed: bool = True


class ConfirmView(Request[Confirmed], frozen=True, tag="view_confirm"):
    """Accept the present view of a moved camera. by: name of the person who confirms."""

    answer = Confirmed
    by: str = ""


class VisitWord(Struct, frozen=True):
    """word: access word; None without a visit."""

    word: str | None


class AskVisitWord(Request[VisitWord], frozen=True, tag="visit"):
    """The access word that a visit's page asks for."""

    answer = VisitWord


class Pressed(Struct, frozen=True):
    pressed: str


class Press(Request[Pressed], frozen=True, tag="press"):
    """Press the help button of the fake pins."""

    answer = Pressed
    name: str = "help"


class ContactSet(Struct, frozen=True):
    name: str
    closed: bool


class SetContact(Request[ContactSet], frozen=True, tag="set"):
    """Set a contact of the fake pins."""

    answer = ContactSet
    name: str
    closed: bool


class HelpTested(Struct, frozen=True):
    """test: its id, under which the centre shows whether it arrived."""

    test: str


class TestHelp(Request[HelpTested], frozen=True, tag="help_test"):
    """Send a test along the help path."""

    answer = HelpTested


class Kept(Struct, frozen=True):
    """id: of the object that the uplink sends."""

    id: str


class Carry(Request[Kept], frozen=True, tag="carry"):
    """A technician's report or diagnosis, which the uplink stores until the centre has it. data: base64 in JSON."""

    answer = Kept
    kind: Literal["report", "diag"]
    name: str
    data: bytes


class ClassWaiting(Struct, frozen=True):
    """The waiting messages of one class. oldest: time of the oldest, as text."""

    name: str = field(name="class")
    rows: int
    bytes: int
    oldest: str | None


class NextMessage(Struct, frozen=True):
    """A message among the next to be sent. put: time of storing, as text."""

    outbox: str
    seq: int
    name: str = field(name="class")
    topic: str
    put: str | None
    bytes: int


class OutboxSurvey(Struct, frozen=True):
    """All outboxes together, each by itself, and why one could not be reached."""

    epoch: str | None
    pending: int
    file_bytes: int
    dropped: dict[str, int]
    classes: tuple[ClassWaiting, ...]
    next: tuple[NextMessage, ...]
    outboxes: tuple[dict[str, Any], ...]
    unreachable: dict[str, str]


class SurveyOutboxes(Request[OutboxSurvey], frozen=True, tag="outbox"):
    """Waiting messages by class, the next to be sent, and dropped ones."""

    answer = OutboxSurvey


class WaitingMessage(Struct, frozen=True):
    """One message that waits."""

    outbox: str
    seq: int
    topic: str
    retain: bool
    expiry_s: int | None
    message: dict[str, dict[str, Any]] | None


class ShowMessage(Request[WaitingMessage], frozen=True, tag="outbox_message"):
    """One message by its number. outbox: in which, where both have that number."""

    answer = WaitingMessage
    seq: Annotated[int, Meta(ge=0, le=GREATEST)]
    outbox: str = ""


# -- the visit's page --------------------------------------------------------------------------------------------------


class VisitState(Struct, frozen=True):
    """until: end of the visit, None without one; state and reason of the camera."""

    until: datetime | None
    state: StateName
    reason: Code


class AskVisit(Request[VisitState], frozen=True, tag="status"):
    """The state of the visit."""

    answer = VisitState


class Admitted(Struct, frozen=True):
    admitted: bool = True


class Admit(Request[Admitted], frozen=True, tag="admit"):
    """Admit this phone, the only one, if it sends the word. phone: a secret that identifies it."""

    answer = Admitted
    phone: str
    word: str


class VisitPicture(Struct, frozen=True):
    """jpeg: base64 in JSON; mono_ms: when it was taken; cause: why it is fully masked, or ""."""

    jpeg: bytes
    mono_ms: int
    cause: Code


class AskPicture(Request[VisitPicture], frozen=True, tag="picture"):
    """The newest picture, for the phone that was admitted."""

    answer = VisitPicture
    phone: str


class Ended(Struct, frozen=True):
    ended: bool = True


class EndVisit(Request[Ended], frozen=True, tag="end"):
    """End the visit before its hour is over."""

    answer = Ended
    phone: str
