"""16.2: what is installed is what the tree holds: every module is in a wheel, and the node's has nothing of the centre."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioning.layout import CODE
from provisioning.version import VERSION

NODE, CENTRE = ("agent", "drivers", "privacy", "provisioning"), ("central",)
NEEDS_MORE = {
    *("drivers.camera.pi_camera", "provisioning.setup.nanodet", "provisioning.setup.rtmdet"),
    "central.fleet.collect.store.migrations.env",
}
"""They need libcamera, or the package onnx, which is for set-up alone; or alembic, which runs the last one."""
IMPORTS = """
import importlib, pkgutil, sys
tops = [importlib.import_module(top) for top in sys.argv[1].split(",")]
found = [one.name for top in tops for one in pkgutil.walk_packages(top.__path__, top.__name__ + ".")]
for name in found:
    if name not in sys.argv[2].split(","):
        importlib.import_module(name)
print(*sorted(found))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    copy = folder / "tree"
    subprocess.run(["git", "-C", CODE, "checkout-index", "-q", "-a", f"--prefix={copy}/"], check=True)
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder]
    subprocess.run([*words, copy, copy / "central"], check=True)
    return {path.name.partition("-")[0]: path for path in folder.glob("*.whl")}


def installed(wheel: Path, target: Path) -> Path:
    """An environment with this wheel, and with the packages that this one has, of which none is ours."""
    if not target.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], check=True)
        (where,) = target.glob("lib/python3*/site-packages")
        (packages,) = (path for path in map(Path, sys.path) if path.name == "site-packages")
        for path in packages.iterdir():
            if "lykta" not in path.name:
                (where / path.name).symlink_to(path)
    (where,) = target.glob("lib/python3*/site-packages")
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", where, wheel]
    subprocess.run(words, check=True)
    return target


def modules(tops: tuple[str, ...]) -> set[str]:
    """By the files of the tree."""
    paths = [path.relative_to(CODE) for top in tops for path in (CODE / top).rglob("*.py")]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if name not in tops}


def imported(environment: Path, tops: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    words = [environment / "bin/python", "-I", "-c", IMPORTS, ",".join(tops), ",".join(NEEDS_MORE)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.environ["PATH"]})


def test_each_wheel_holds_every_module_of_its_own_and_no_other(wheels: dict[str, Path], tmp_path: Path) -> None:
    """Installed into an empty environment and imported, one by one; the node alone first, then the centre beside it."""
    environment = installed(wheels["lykta"], tmp_path / "environment")
    done = imported(environment, NODE)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == modules(NODE)
    assert wheels["lykta"].name.split("-")[1] == VERSION
    missing = imported(environment, CENTRE)
    assert "No module named 'central'" in missing.stderr
    done = imported(installed(wheels["lykta_central"], environment), CENTRE)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == modules(CENTRE)


def test_every_init_is_empty() -> None:
    """io takes a few megabytes less than what a folder of commands or pixels would load with it."""
    every = [path for top in (*NODE, *CENTRE) for path in (CODE / top).rglob("__init__.py")]
    assert len(every) > 30
    assert [str(path) for path in every if path.stat().st_size] == []
