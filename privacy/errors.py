"""Every error of Lykta.

    LyktaError
    ├── UsageError(ValueError)              exit 2   wrong arguments, or a second instance
    ├── ConfigError(ValueError)             exit 5   lykta.toml: field, rule, value
    ├── RecordError(ValueError)             exit 5   basis, view, manifest, receipt: bad signature, expired, of another node
    │   └── DamageError                     exit 5   a damaged record: the bytes on the disk are not the ones that were signed
    ├── AccessError(PermissionError)        exit 6   the user may not read or write this
    ├── EnrolmentError(LookupError)         exit 7   the node has no identity yet
    ├── UnreachableError(ConnectionError)   exit 4   a service or server does not answer; trying again can help
    │   └── BusyError                       exit 4   a server asks to try again later
    ├── IngestRefusedError                  exit 1   at the node: the ingest refused a request
    ├── RequestRejectedError(ValueError)    exit 1   at the centre: a node's request is refused, with the HTTP status of the answer
    ├── MediaError(OSError)                 exit 1   a camera or a video cannot be read or written
    ├── ModelError(ValueError)              exit 5   model files missing, damaged or not the pinned ones
    ├── DetectorError(RuntimeError)         exit 1   no usable detection for one picture; the frame is fully masked
    │   └── CrowdError                      exit 1   more detections in one picture than can be tracked
    ├── SealError(ValueError)               exit 1   a sealed file is damaged, or not in the format that Lykta writes
    ├── StorageError(OSError)               exit 1   the disk refused a write; `errno`: the system's number, if the system raised it
    └── ZoneError(LookupError)              exit 1   no intact time zone file

The message says what happened; the hint says what to do. Both begin in lower case and end without a full stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class LyktaError(Exception):
    """Base of all errors. exit_code: of the command line."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return str(self.args[0])


class UsageError(LyktaError, ValueError):
    exit_code = 2


class ConfigError(LyktaError, ValueError):
    exit_code = 5


class RecordError(LyktaError, ValueError):
    """code: the stable reason code of a record that keeps the camera closed; "" for any other."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class DamageError(RecordError):
    """A damaged record: its bytes are not the ones that were signed, or the disk can no longer read them."""


class AccessError(LyktaError, PermissionError):
    exit_code = 6


class EnrolmentError(LyktaError, LookupError):
    exit_code = 7


class UnreachableError(LyktaError, ConnectionError):
    exit_code = 4


class BusyError(UnreachableError):
    """after_s: seconds that the server asks to wait, 0 if it did not say."""

    def __init__(self, after_s: float, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.after_s = after_s


class IngestRefusedError(LyktaError):
    """status: the HTTP code of the ingest's answer."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class RequestRejectedError(LyktaError, ValueError):
    """status: the HTTP code of the answer to the node."""

    def __init__(self, status: int, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.status = status


class MediaError(LyktaError, OSError):
    """code: the stable reason code in the node's state while the fault lasts."""

    def __init__(self, message: str, hint: str = "", code: str = "camera_fails") -> None:
        super().__init__(message, hint)
        self.code = code


class ModelError(LyktaError, ValueError):
    """code: the stable reason code in the node's state."""

    exit_code = 5

    def __init__(self, message: str, hint: str = "", code: str = "models_invalid") -> None:
        super().__init__(message, hint)
        self.code = code


class DetectorError(LyktaError, RuntimeError):
    pass


class CrowdError(DetectorError):
    """More detections in one picture than can be tracked."""


class SealError(LyktaError, ValueError):
    pass


class StorageError(LyktaError, OSError):
    """errno: the system's number, so that a full disk is still known for one behind this error; None if the system said nothing."""

    def __init__(self, message: str, hint: str = "", errno: int | None = None) -> None:
        super().__init__(message, hint)
        self.errno = errno


class ZoneError(LyktaError, LookupError):
    pass


@contextmanager
def coded(code: str) -> Iterator[None]:
    """Give this reason code to a `RecordError` of the block that has none."""
    try:
        yield
    except RecordError as problem:
        problem.code = problem.code or code
        raise
