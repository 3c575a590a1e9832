"""Keeping clips: recovery at the start, deadlines, the quota, receipts. Whatever leaves is journalled and told (R27, R32)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime

from agent.messages import ClipNote, ClipStage
from agent.outbox import Outbox
from agent.spool import Spool
from privacy.errors import SealError
from privacy.journal import Journal
from privacy.manifest import Manifest

_LEAST_FREE = 0.02


class Keeper:
    """The camera's side of a clip's life after the recorder."""

    def __init__(self, spool: Spool, outbox: Outbox, journal: Journal, now: Callable[[], datetime], quota_mb: int) -> None:
        self._spool, self._outbox, self._journal, self._now = spool, outbox, journal, now
        self._quota = quota_mb * 1_000_000

    def clip(self, note: ClipNote) -> None:
        """Journal first: what the centre hears, an auditor must find."""
        self._journal.append(f"clip_{note.stage}", clip=note.clip, trigger=note.trigger, reason=note.reason, bytes=note.bytes)
        self._outbox.put(note)

    def recover(self) -> None:
        """Finish or drop what a power cut tore."""
        for clip in self._spool.torn():
            try:
                manifest = self._spool.recover(clip, self._now())
            except (SealError, FileNotFoundError) as problem:
                self._spool.free(clip)
                self.clip(ClipNote(clip, "dropped", "", f"torn: {problem}", 0))
            else:
                self.clip(ClipNote(clip, "recorded", manifest.trigger, "torn", _size(manifest)))

    def sweep(self) -> None:
        """Delete what is past its deadline, then the oldest until the quota holds; help clips go last."""
        now = self._now()
        kept = []
        for clip in self._spool.clips():
            manifest = self._spool.manifest(clip)
            if manifest.deadline <= now:
                self._remove(manifest, "expired", "retention")
            else:
                kept.append(manifest)
        for manifest in sorted(kept, key=lambda m: (m.trigger == "help", m.begin)):
            if not self._crowded():
                return
            self._remove(manifest, "dropped", "quota")

    def receipt(self, token: str) -> bool:
        """Free the clip that the centre's signed receipt names; whether there was one to free."""
        manifest = self._spool.check_receipt(token.encode())
        self._remove(manifest, "uploaded", "receipt")
        return True

    def _remove(self, manifest: Manifest, stage: ClipStage, reason: str) -> None:
        note = ClipNote(manifest.clip, stage, manifest.trigger, reason, _size(manifest))
        self._spool.free(manifest.clip)
        self.clip(note)

    def _crowded(self) -> bool:
        disk = shutil.disk_usage(self._spool.folder)
        return self._spool.used() > self._quota or disk.free < _LEAST_FREE * disk.total


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files)
