"""A node's folder and the centre that signs for it, without any service: what `lykta apply` and `lykta renew` work on."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner

from agent.commands.main import app
from central.keys import signing
from central.keys.bundle import Address, bundle
from central.keys.certificates import issuer, pem
from central.keys.keygen import keygen
from privacy.errors import LyktaError
from privacy.records.jws import load_chain, sign
from provisioning.layout import Layout

NAME = ("city", "stop-1")


class Site:
    """Records are signed as `lykta-central sign` does; commands run as `lykta` with --root."""

    def __init__(self, root: Path, keys: Path) -> None:
        self.root, self.keys, self.layout = root, keys, Layout(root)

    @classmethod
    def made(cls, folder: Path) -> Site:
        keygen(folder / "keys", ["localhost"])
        bundle(folder / "keys", "/".join(NAME), folder / "node", "City", Address("b", 1), Address("i", 1))
        site = cls(folder / "node", folder / "keys")
        with site.layout.config.open("a") as file:
            file.write('\n[clock]\ntrust = "host"\n')
        return site

    def copy(self, folder: Path) -> Site:
        shutil.copytree(self.root, folder / "node")
        return Site(folder / "node", self.keys)

    def record(self, name: str, key: str = "", **changes: Any) -> bytes:
        kind, into, usual = signing.KINDS[name]
        facts = msgspec.to_builtins(signing.example(name, *NAME)) | changes
        return sign(msgspec.convert(facts, into), signing.signer(self.keys, key or usual), kind)

    def config(self, version: int, **settings: dict[str, Any]) -> bytes:
        return self.record("config", version=version, settings=settings)

    def ages(self, unit: str, begin: timedelta, end: timedelta) -> None:
        """The certificate of a unit as one that began and ends so long from now."""
        path, ca, now = self.layout.certificates / f"{unit}.pem", issuer(self.keys), datetime.now(UTC)
        old = load_chain(path.read_bytes())[0]
        builder = x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer).public_key(old.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + begin).not_valid_after(now + end)
        for one in old.extensions:
            builder = builder.add_extension(one.value, one.critical)
        path.write_bytes(pem(builder.sign(ca.key, hashes.SHA256())))

    def desire(self, name: str, token: bytes) -> None:
        """As the uplink leaves it."""
        self.layout.desired.mkdir(parents=True, exist_ok=True)
        (self.layout.desired / f"{name}.jws").write_bytes(token)

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Exit code and the object that --json prints; {} after an error."""
        done = CliRunner().invoke(app, ["--root", str(self.root), *words, "--json"], catch_exceptions=True)
        if isinstance(done.exception, LyktaError):
            return done.exception.exit_code, {"error": str(done.exception)}
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if done.stdout.strip() else {}

    def apply(self, *words: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
        """Exit code; by kind what became of it, what is in force now, and the reason."""
        code, said = self.run("apply", *words)
        return code, {one["what"]: (one["result"], one["in_force"], one["reason"]) for one in said["applied"]}
