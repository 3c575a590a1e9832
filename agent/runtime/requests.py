"""What may be asked of a service over its sockets, and the answers: one type each. The verb is the type's tag.

uplink   for the uplink: what came signed from the centre, and the heads of other units' journals
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
    """freed: whether the clip is gone now; not while an order holds it."""

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
    """Where the other units' journals stand: by unit, a number and a hash, or a whole signed line."""

    answer = HeadsNoted
    heads: dict[str, str]


class CommandTaken(Struct, frozen=True, omit_defaults=True):
    """obeyed: whether io takes it in hand; reason: why not, of one that came before."""

    obeyed: bool
    reason: Code = ""


class GiveCommand(Request[CommandTaken], frozen=True, tag="command"):
    """A command that the centre signed. name: as its topic has it."""

    answer = CommandTaken
    jws: str
    name: str = ""


class AskOutbox(Request[remote.Answer], frozen=True, tag="outbox"):
    """io's outbox, for the uplink: which answer follows from what is asked."""

    answer = remote.Answer
    ask: remote.Ask


# -- for technicians ---------------------------------------------------------------------------------------------------


class ReferencePicture(Struct, frozen=True):
    """kind: what the view is taken for, "" as known; hides: whether all is masked because of it; jpeg: of masked frames."""

    kind: Code
    hides: bool
    jpeg: bytes


class ShowView(Request[ReferencePicture], frozen=True, tag="view"):
    """The stop without anybody."""

    answer = ReferencePicture


class Confirmed(Struct, frozen=True):
    confirmed: bool = True


class ConfirmView(Request[Confirmed], frozen=True, tag="view_confirm"):
    """Take the present view of a moved camera for the right one. by: who says so."""

    answer = Confirmed
    by: str = ""


class VisitWord(Struct, frozen=True):
    """word: None without a visit."""

    word: str | None


class AskVisitWord(Request[VisitWord], frozen=True, tag="visit"):
    """The word that a visit's page asks for."""

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
    """Work a contact of the fake pins."""

    answer = ContactSet
    name: str
    closed: bool


class HelpTested(Struct, frozen=True):
    """test: its name, by which the centre shows whether it came."""

    test: str


class TestHelp(Request[HelpTested], frozen=True, tag="help_test"):
    """Send a test down the help path."""

    answer = HelpTested


class Kept(Struct, frozen=True):
    """id: of the object that the uplink sends."""

    id: str


class Carry(Request[Kept], frozen=True, tag="carry"):
    """A technician's report or diagnosis, which the uplink keeps until the centre has it. data: in base64 on the line."""

    answer = Kept
    kind: Literal["report", "diag"]
    name: str
    data: bytes


class ClassWaiting(Struct, frozen=True):
    """What waits of one class. oldest: as text, of when it was put."""

    name: str = field(name="class")
    rows: int
    bytes: int
    oldest: str | None


class NextMessage(Struct, frozen=True):
    """A message that is sent soon. put: when it was put, as text."""

    outbox: str
    seq: int
    name: str = field(name="class")
    topic: str
    put: str | None
    bytes: int


class OutboxSurvey(Struct, frozen=True):
    """All outboxes together, each of them, and why one could not be reached."""

    epoch: str | None
    pending: int
    file_bytes: int
    dropped: dict[str, int]
    classes: tuple[ClassWaiting, ...]
    next: tuple[NextMessage, ...]
    outboxes: tuple[dict[str, Any], ...]
    unreachable: dict[str, str]


class SurveyOutboxes(Request[OutboxSurvey], frozen=True, tag="outbox"):
    """What waits by class, what is sent next, what was dropped."""

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
    """until: when the visit ends, None without one; how the camera stands."""

    until: datetime | None
    state: StateName
    reason: Code


class AskVisit(Request[VisitState], frozen=True, tag="status"):
    """How it stands with the visit."""

    answer = VisitState


class Admitted(Struct, frozen=True):
    admitted: bool = True


class Admit(Request[Admitted], frozen=True, tag="admit"):
    """Take this phone for the one that looks, if it says the word. phone: a secret of its own."""

    answer = Admitted
    phone: str
    word: str


class VisitPicture(Struct, frozen=True):
    """jpeg: in base64 on the line; mono_ms: when it was taken; cause: why all of it is masked, or empty."""

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
