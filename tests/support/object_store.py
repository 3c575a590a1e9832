"""An S3-compatible store on 127.0.0.1: moto as a process of its own, over TLS with a certificate of the centre's CA.

moto judges neither signatures nor Content-MD5, so what is bound in an address is seen by its shape only.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import boto3

from central.keys.keygen import issue
from tests.support.broker import PATIENCE, free_port, until


class ObjectStore:
    """Started at once, ended by `close`. `environment` is what an adapter needs to reach it."""

    def __init__(self, keys: Path, folder: Path) -> None:
        issue(keys, folder / "s3", "s3", "server", hosts=["127.0.0.1"])
        self.port, self.log = free_port(), folder / "s3.log"
        self.environment = {
            "AWS_ENDPOINT_URL": f"https://127.0.0.1:{self.port}",
            "AWS_CA_BUNDLE": str(keys / "ca.pem"),
            "AWS_ACCESS_KEY_ID": "centre",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "eu-north-1",
        }
        words = ["-H", "127.0.0.1", "-p", str(self.port), "-c", str(folder / "s3.pem"), "-k", str(folder / "s3.key")]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "moto.server", *words], stdout=log, stderr=log)
        until(self._answers, "moto answers", 60)

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            verify=self.environment["AWS_CA_BUNDLE"],
            aws_access_key_id="centre",
            aws_secret_access_key="not-a-secret",
            region_name="eu-north-1",
        )

    def bucket(self, *, versioned: bool = True) -> str:
        """A new bucket."""
        name, client = f"lykta-{uuid.uuid4().hex[:12]}", self.client()
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def versions(self, bucket: str, prefix: str = "") -> list[str]:
        """The key of each version, of what was deleted too."""
        page = self.client().list_object_versions(Bucket=bucket, Prefix=prefix)
        return [one["Key"] for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE * 20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        words = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "--cacert",
            self.environment["AWS_CA_BUNDLE"],
            self.environment["AWS_ENDPOINT_URL"],
        ]
        return subprocess.run(words, check=False).returncode == 0
