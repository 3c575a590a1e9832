"""The whole ingest for one store: serve nodes, import a folder, or only delete what is due."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central.ingest.carrying import import_folder
from central.ingest.deletion import StoredOrders
from central.ingest.http import Ingest
from central.ingest.intake import Intake, now_utc
from central.ingest.ledger import Ledger
from central.ingest.server import serve
from central.ingest.sweeping import Sweeper
from central.keys.keygen import authority, read, signer
from central.keys.revocation_list import RevocationList
from central.store.choose import open_store
from drivers import stderr
from privacy.records.journal import Journal
from privacy.records.jws import TrustedKeys


@dataclass(frozen=True)
class IngestService:
    """Intake, sweeper and revocation list of one store."""

    intake: Intake
    sweeper: Sweeper
    revoked: RevocationList

    @classmethod
    def create(cls, where: str, keys: Path, journal: Path) -> IngestService:
        """where: folder or s3:// address; keys: folder of keys; journal: folder of the centre's journal."""
        read(keys / "ingest.key")
        trusted, receipts, commands = authority(keys), signer(keys, "receipt"), signer(keys, "command")
        store = open_store(where)
        orders = StoredOrders(store, TrustedKeys({commands.kid: commands.key.public_key()}))
        ledger = Ledger(Journal(journal, "receipt", receipts, now_utc), now_utc)
        intake = Intake(store, trusted, receipts, orders, ledger, now_utc, keys)
        return cls(intake, Sweeper(store, orders, ledger, now_utc), RevocationList(keys / "crl.pem", trusted))

    def serve(self, keys: Path, host: str, port: int) -> None:
        """Serve nodes over HTTPS and delete what is due, until SIGTERM or SIGINT."""
        serve(Ingest(self.intake, self.revoked).app(), keys, host, port, self.sweeper.run)

    def sweep_once(self) -> tuple[dict[str, Any], str]:
        """Delete what is due; returns facts for JSON and a line of text. Failures also go to stderr, with the reason."""
        failed = self.sweeper.apply_orders()
        swept = self.sweeper.sweep()
        failed |= swept.failed
        for name, reason in failed.items():
            stderr.line(f"failed: {name}: {reason}")
        facts = {
            "deleted": swept.deleted,
            "held": swept.held,
            "failed": [{"id": name, "error": why} for name, why in failed.items()],
        }
        return facts, f"deleted {len(swept.deleted)}, held {len(swept.held)}, failed {len(failed)}"

    def import_folder(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Import the objects in a folder; returns facts for JSON and a line of text. Progress and refusals go to stderr."""
        done = []
        for one in import_folder(folder, self.intake, lambda text: stderr.line(f"ingest: {text}")):
            done.append(one)
            if one.result == "refused":
                stderr.line(f"refused: {one.id}: {one.reason}")
                stderr.line(f"hint: {one.hint}")
        taken = [one.id for one in done if one.result == "taken"]
        refused = [{"id": one.id, "error": one.reason, "hint": one.hint} for one in done if one.result == "refused"]
        return {"taken": taken, "refused": refused}, f"taken {len(taken)}, refused {len(refused)}"
