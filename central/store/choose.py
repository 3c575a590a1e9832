"""Which store a word on the command line means."""

from __future__ import annotations

from pathlib import Path

from central.store.port import Store


def open_store(where: str) -> Store:
    """`s3://bucket[/prefix]`, with endpoint and credentials from boto3's usual places; anything else is a folder."""
    if where.startswith("s3://"):
        from central.store.s3_store import S3Store

        return S3Store.parse(where)
    from central.store.folder_store import FolderStore

    return FolderStore(Path(where))
