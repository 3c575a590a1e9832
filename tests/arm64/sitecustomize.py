"""In the arm64 tree only: qemu-user 7.2 answers close_range(2) by a walk through 2^31 descriptors, ten seconds a process."""

import subprocess
from functools import partialmethod

subprocess.Popen.__init__ = partialmethod(subprocess.Popen.__init__, close_fds=False)  # type: ignore[assignment]
