"""Opens the store that the option `--store` names."""

from __future__ import annotations

from pathlib import Path

from central.store.port import Store


def open_store(where: str) -> Store:
    """An S3 store for `s3://bucket[/prefix]` (endpoint and credentials as boto3 finds them), else one in the folder `where`."""
    if where.startswith("s3://"):
        from central.store.s3_store import S3Store

        return S3Store.parse(where)
    from central.store.folder_store import FolderStore

    return FolderStore(Path(where))
