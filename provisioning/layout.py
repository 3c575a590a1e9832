"""Paths of a node's files, folders and sockets (fixed by contract). `LYKTA_ROOT` (or --root) moves all of them below one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SERVICES = ("camera", "io", "uplink")
"""The services of a node, in the order in which they are displayed."""

CODE = Path(__file__).resolve().parent.parent
"""The folder that contains the packages of this program: the root of a checkout, or site-packages."""


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
        """The signed configuration that was last applied; its values override lykta.toml."""
        return self.etc / "config.jws"

    @property
    def trust(self) -> Path:
        """ca.pem, basis-keys.jws, command-keys.jws, recipients.txt"""
        return self.etc / "trust"

    @property
    def certificates(self) -> Path:
        """<unit>.pem of each unit and tls.pem, which are public; also the keys, if systemd does not provide them."""
        return self.etc / "credentials"

    @property
    def credentials(self) -> Path:
        """<unit>.key of each unit and tls.key; systemd gives each service only its own key."""
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
        """io's own outbox: no other service can open or lock it. The uplink reads it through io's socket."""
        return self.var / "io/outbox.db"

    @property
    def io_alarms(self) -> Path:
        """The alarms that io has raised and not ended yet."""
        return self.var / "io/alarms.json"

    @property
    def models(self) -> Path:
        return self.var / "models"

    @property
    def camera(self) -> Path:
        """Data of the camera and `lykta retention` only: the view's reference edges, the odometer, answered orders."""
        return self.var / "camera"

    @property
    def wipe(self) -> Path:
        """The verified order to wipe this node, stored for root's wipe service."""
        return self.camera / "wipe.jws"

    @property
    def uplink(self) -> Path:
        """Data of the uplink only: parcels that are being sent, receipts of journal segments, the volume sent today."""
        return self.var / "uplink"

    @property
    def inbox(self) -> Path:
        """Signed records that the uplink stores for a service that was not running: receipts/ and orders/."""
        return self.var / "inbox"

    @property
    def desired(self) -> Path:
        """Signed records from the centre for `lykta apply`: basis.jws, view.jws, config.jws, …"""
        return self.inbox / "desired"

    @property
    def applied(self) -> Path:
        """Results of `lykta apply` and `lykta renew`; root writes, all users read."""
        return self.var / "applied"

    @property
    def link(self) -> Path:
        """State of `lykta link`, and the rescue steps that it took; root writes, the uplink reads."""
        return self.var / "link"

    @property
    def run(self) -> Path:
        return self.root / "run/lykta"

    def journal(self, unit: str) -> Path:
        return self.var / "journal" / unit

    def socket(self, service: str, name: str) -> Path:
        """A service's socket. name: ctl (technicians), uplink (status, signed envelopes), setup (camera: for the setup page)."""
        return self.run / service / f"{name}.sock"

    def refusal(self, service: str) -> Path:
        """Why a service refuses to work, written before it ends; the uplink reads the camera's."""
        return self.run / service / "refusal.json"

    @property
    def trigger(self) -> Path:
        """The camera's socket for a press of the help button, reported by io. In a folder of its own, so that io cannot reach other
        files of the camera."""
        return self.run / "trigger/camera.sock"

    @property
    def presence(self) -> Path:
        """io's socket for the presence of a person, reported by the camera. Also in a folder of its own."""
        return self.run / "presence/io.sock"

    @property
    def visit(self) -> Path:
        """Exists while a visit is open; systemd then starts the setup page."""
        return self.run / "camera/setup/visit"

    @property
    def page(self) -> Path:
        """The setup page's socket, to which a technician's SSH client forwards the browser."""
        return self.run / "setup/page.sock"

    def last_command(self, service: str) -> Path:
        """The number of the last command that this service examined in this boot, and those without a final answer."""
        return self.run / service / "last-command.json"

    @property
    def pause(self) -> Path:
        """Until when the camera is paused, in this boot."""
        return self.run / "camera/pause.json"

    @property
    def last_exit(self) -> Path:
        """<unit>.json: how a unit last ended, written by its failure hook for the uplink."""
        return self.run / "last"
