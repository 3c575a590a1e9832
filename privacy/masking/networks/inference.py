"""One loaded network: runs a blob through ONNX Runtime. No other file uses ONNX Runtime.

ONNX Runtime needs about half the time of OpenCV's own networks for the same outputs (docs/decisions/0053-onnx-runtime.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privacy.errors import DetectorError

Array = npt.NDArray[np.float32]
_ERRORS_ONLY = 3


class Inference:
    """A network from the bytes of its ONNX file. Not thread-safe.

    data      its hash must have been checked; for an invalid network ONNX Runtime's exceptions are raised
    threads   threads for one run, including the calling one; waiting threads do not spin
    """

    def __init__(self, data: bytes, threads: int = 1) -> None:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (self._input,) = (node.name for node in self._session.get_inputs())

    def run(self, blob: npt.NDArray[np.generic], names: Sequence[str] | None = None) -> list[Array]:
        """The named outputs, or all, for a blob (1, 3, h, w). `DetectorError` if a value is not finite."""
        outputs = [np.asarray(one, np.float32) for one in self._session.run(names, {self._input: np.asarray(blob, np.float32)})]
        # Comparisons with NaN are false: without this check a faulty network would look like an empty street.
        if not all(np.isfinite(one).all() for one in outputs):
            raise DetectorError("detector: an output is not finite", "the model or the picture is damaged")
        return outputs


def runtime() -> Any:
    """ONNX Runtime's module. Imported on demand, because its import reads system files."""
    import onnxruntime

    return onnxruntime
