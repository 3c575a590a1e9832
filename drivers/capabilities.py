"""Linux capabilities of this thread. Only CAP_DAC_READ_SEARCH is used: to read and enter every folder, without write access."""

from __future__ import annotations

import ctypes

_VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 (linux/capability.h)."""
_DAC_READ_SEARCH = 1 << 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def read_all() -> None:
    """Make CAP_DAC_READ_SEARCH effective, if this process is permitted to. Without it the folders' modes decide, which is enough
    on a node."""
    libc, header, sets = ctypes.CDLL(None), _Header(_VERSION, 0), (_Data * 2)()
    if libc.capget(ctypes.byref(header), sets) == 0:
        sets[0].effective |= sets[0].permitted & _DAC_READ_SEARCH
        libc.capset(ctypes.byref(header), sets)
