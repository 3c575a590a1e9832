"""Run in the place of a service, under its very unit: which devices open from there. usage: doors.py OUT DEVICE..."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path


def outcome(path: str) -> str:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return "ok"


if __name__ == "__main__":
    out, *devices = sys.argv[1:]
    Path(out).write_text(json.dumps({path: outcome(path) for path in devices}))
