"""Where things lie on a node (contract paths). `LYKTA_ROOT` (or --root) moves every path under one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SERVICES = ("camera", "io", "uplink")
"""The services of a node, in the order in which they are shown."""

CODE = Path(__file__).resolve().parent.parent
"""The folder in which the packages of this program lie: the root of a checkout, or site-packages."""


@dataclass(frozen=True)
class Layout:
    root: Path

    @classmethod
    def from_environment(cls, root: str | None = None) -> Layout:
        return cls(Path(root or os.environ.get("LYKTA_ROOT") or "/").resolve())

    @property
    def etc(self) -> Path:
        return self.root / "etc/lykta"

    @property
    def config(self) -> Path:
        return self.etc / "lykta.toml"

    @property
    def basis(self) -> Path:
        return self.etc / "basis.jws"

    @property
    def view(self) -> Path:
        return self.etc / "view.jws"

    @property
    def overlay(self) -> Path:
        """The signed configuration last applied, laid over lykta.toml."""
        return self.etc / "config.jws"

    @property
    def trust(self) -> Path:
        """ca.pem, basis-keys.jws, command-keys.jws, recipients.txt"""
        return self.etc / "trust"

    @property
    def certificates(self) -> Path:
        """<unit>.pem of each unit and tls.pem: public, beside the keys where no service manager hands those out."""
        return self.etc / "credentials"

    @property
    def credentials(self) -> Path:
        """<unit>.key of each unit and tls.key; systemd hands each service only its own."""
        return Path(os.environ.get("CREDENTIALS_DIRECTORY") or self.certificates)

    @property
    def var(self) -> Path:
        return self.root / "var/lib/lykta"

    @property
    def spool(self) -> Path:
        return self.var / "spool"

    @property
    def outbox(self) -> Path:
        return self.var / "outbox/state.db"

    @property
    def io_outbox(self) -> Path:
        """io's own: nobody else can open it, or take its locks. The uplink reads it through io's socket."""
        return self.var / "io/outbox.db"

    @property
    def io_alarms(self) -> Path:
        """Which alarms stand by io's word."""
        return self.var / "io/alarms.json"

    @property
    def models(self) -> Path:
        return self.var / "models"

    @property
    def camera(self) -> Path:
        """What the camera and `lykta retention` alone keep: the edges of its view, the odometer, answered orders."""
        return self.var / "camera"

    @property
    def wipe(self) -> Path:
        """The verified order to wipe this node, left for root."""
        return self.camera / "wipe.jws"

    @property
    def uplink(self) -> Path:
        """What the uplink alone keeps: parcels on their way, receipts of journal segments, what it has sent today."""
        return self.var / "uplink"

    @property
    def inbox(self) -> Path:
        """What the uplink leaves, still signed, for a service that was away: receipts/ and orders/."""
        return self.var / "inbox"

    @property
    def desired(self) -> Path:
        """What the uplink got from the centre for `lykta apply`, still signed: basis.jws, view.jws, config.jws, …"""
        return self.inbox / "desired"

    @property
    def applied(self) -> Path:
        """What `lykta apply` and `lykta renew` say became of it; root writes, all read."""
        return self.var / "applied"

    @property
    def link(self) -> Path:
        """What `lykta link` remembers, and the rungs that it took; root writes, the uplink reads."""
        return self.var / "link"

    @property
    def run(self) -> Path:
        return self.root / "run/lykta"

    def journal(self, unit: str) -> Path:
        return self.var / "journal" / unit

    def socket(self, service: str, name: str) -> Path:
        """name: ctl (technicians), uplink (status and signed envelopes), setup (the camera's, for the page of a visit)."""
        return self.run / service / f"{name}.sock"

    @property
    def trigger(self) -> Path:
        """Where io tells the camera of a press: a folder of its own, so that io reaches nothing else of the camera's."""
        return self.run / "trigger/camera.sock"

    @property
    def presence(self) -> Path:
        """Where the camera tells io that somebody waits: the other way, again a folder of its own."""
        return self.run / "presence/io.sock"

    @property
    def visit(self) -> Path:
        """There while somebody on site may look: systemd starts the page by it."""
        return self.run / "camera/setup/visit"

    @property
    def page(self) -> Path:
        """Where a technician's SSH forwards a browser to."""
        return self.run / "setup/page.sock"

    @property
    def last_command(self) -> Path:
        """The number of the last command that io judged in this boot."""
        return self.run / "io/last-command.json"

    @property
    def last_word(self) -> Path:
        """<unit>.json: how a unit last ended, left by its failure hook for the uplink."""
        return self.run / "last"
