"""Films made with ffmpeg, and what ffmpeg shows of a file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")


def ffmpeg(*words: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True)


def frames_of(path: Path, form: str) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format=form) for picture in container.decode(video=0)]


def probe(path: Path, *entries: str) -> list[str]:
    """ffprobe's values of the first video track."""
    words = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", *entries, "-of", "default=nw=1:nk=1", path]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def count_of(path: Path) -> int:
    return int(probe(path, "-count_frames", "-show_entries", "stream=nb_read_frames")[0])


def stamps_of(path: Path) -> list[float]:
    stamps = [float(text) for text in probe(path, "-show_entries", "frame=pts_time")]
    return [stamp - stamps[0] for stamp in stamps]


def shown(path: Path, width: int, height: int, *filters: str) -> np.ndarray:
    """(frames, height, width) of luma in studio range, as ffmpeg shows the file: turned as its matrix says."""
    chain = ",".join([*filters, "scale=out_range=tv", "format=yuv420p"])
    words = ["ffmpeg", "-v", "quiet", "-i", path, "-map", "0:v:0", "-vf", chain, "-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    data = subprocess.run(words, capture_output=True, check=False).stdout
    size = width * height
    whole = size + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return np.frombuffer(data, np.uint8).reshape(-1, whole)[:, :size].reshape(-1, height, width).astype(int)
