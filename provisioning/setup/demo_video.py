"""The demo video of pedestrians: downloaded from Debian's package opencv-doc, not stored in this repository.

It is the PETS09-S2L1 view 1 sequence, with the same bytes in the packages of Debian 12 and 13.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from privacy.errors import MediaError
from privacy.files import PUBLIC, place
from privacy.masking.networks.models import sha256_of
from provisioning.setup.models import say

SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
_MEMBERS = ("vtest.avi", "vtest.avi.gz")


def install(target: Path) -> None:
    """Install the video, if it is not there already; `MediaError` if it cannot be downloaded."""
    if target.exists() and sha256_of(target.read_bytes()) == SHA256:
        return
    say("downloading the demo video (Debian package opencv-doc, 96 MB; only one file of it is kept)")
    with tempfile.TemporaryDirectory() as scratch:
        data = _from_package(_download(Path(scratch)))
    if sha256_of(data) != SHA256:
        raise MediaError("demo video: sha256: is not the pinned one", "the package changed; give another video with --video")
    target.parent.mkdir(parents=True, exist_ok=True)
    place(target, data, mode=PUBLIC)
    say(f"demo video: {target} ({len(data):,} bytes)")


def _download(folder: Path) -> Path:
    # apt's download user cannot enter a private folder. Without this option apt prints a warning at every run.
    words = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "opencv-doc"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})
    packages = list(folder.glob("opencv-doc_*.deb"))
    if not packages:
        raise MediaError(f"demo video: apt-get download opencv-doc: {done.stderr.strip()}", "apt-get update, then again")
    return packages[0]


def _from_package(package: Path) -> bytes:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as unpack:
        if unpack.stdout is None:
            raise MediaError("demo video: no output from dpkg-deb", "is dpkg installed?")
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as files:
            for member in files:
                inside = files.extractfile(member) if Path(member.name).name in _MEMBERS else None
                if inside:
                    data = inside.read()
                    unpack.kill()
                    return gzip.decompress(data) if member.name.endswith(".gz") else data
    raise MediaError("demo video: not in the package", "give another video with --video")
