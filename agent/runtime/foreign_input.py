"""Input from another trust domain cannot crash a service (R47): any failure while it is handled becomes a `LyktaError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drivers import stderr
from privacy.errors import LyktaError
from privacy.files import on_disk


@contextmanager
def handling(what: str) -> Iterator[None]:
    """`LyktaError` passes unchanged; disk errors become `StorageError`; any other error is logged with its traceback.

    what   names the input in the error
    """
    try:
        with on_disk(what, "check the disk and the folder's rights"):
            yield
    except LyktaError:
        raise
    except Exception as problem:
        stderr.traceback(problem)
        raise LyktaError(f"{what}: refused: {type(problem).__name__}", "this should not happen; please report it") from problem
