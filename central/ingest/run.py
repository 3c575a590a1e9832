"""The parts of the ingest, put together over one store: serve, take what was carried in, or only delete what is due."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from central.ingest.carrying import carry
from central.ingest.deletion import Decisions
from central.ingest.http import Ingest
from central.ingest.intake import Intake, now_utc
from central.ingest.ledger import Ledger
from central.ingest.server import serve
from central.ingest.sweeping import Sweeper
from central.keys.keygen import authority, read, signer
from central.keys.revocation_list import Revoked
from central.store.choose import open_store
from drivers import stderr
from privacy.records.journal import Journal
from privacy.records.jws import TrustedKeys


@dataclass(frozen=True)
class Serving:
    intake: Intake
    sweeper: Sweeper
    revoked: Revoked

    @classmethod
    def over(cls, where: str, keys: Path, journal: Path) -> Serving:
        read(keys / "ingest.key")
        trusted, receipts, commands = authority(keys), signer(keys, "receipt"), signer(keys, "command")
        store = open_store(where)
        decisions = Decisions(store, TrustedKeys({commands.kid: commands.key.public_key()}))
        ledger = Ledger(Journal(journal, "receipt", receipts, now_utc), now_utc)
        intake = Intake(store, trusted, receipts, decisions, ledger, now_utc, keys)
        return cls(intake, Sweeper(store, decisions, ledger, now_utc), Revoked(keys / "crl.pem", trusted))

    def serve(self, keys: Path, host: str, port: int) -> None:
        """Until told to stop."""
        serve(Ingest(self.intake, self.revoked).app(), keys, host, port, self.sweeper.run)

    def sweep_once(self) -> tuple[dict[str, Any], str]:
        """Facts and a line for people; on stderr what failed, and why."""
        failed = self.sweeper.obey()
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

    def carry(self, folder: Path) -> tuple[dict[str, Any], str]:
        """Facts and a line for people; progress and refusals on stderr."""
        done = []
        for one in carry(folder, self.intake, lambda text: stderr.line(f"ingest: {text}")):
            done.append(one)
            if one.result == "refused":
                stderr.line(f"refused: {one.id}: {one.reason}")
                stderr.line(f"hint: {one.hint}")
        taken = [one.id for one in done if one.result == "taken"]
        refused = [{"id": one.id, "error": one.reason, "hint": one.hint} for one in done if one.result == "refused"]
        return {"taken": taken, "refused": refused}, f"taken {len(taken)}, refused {len(refused)}"
