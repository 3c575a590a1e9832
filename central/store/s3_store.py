"""A store in a versioned, S3-compatible object store. Nodes PUT parts there, to presigned URLs; no node has credentials.

The state of an upload is kept in the object store alone: open multipart uploads and their parts are listed each time.
`If-None-Match` and the newer checksums are not used, because some stores ignore them (seen: Ceph radosgw 16). Instead the
signature of each URL covers the MD5 of its part, and the whole file is read back before a receipt is signed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from tempfile import SpooledTemporaryFile
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from central.store.port import Part, PartRange, Upload
from privacy.errors import RequestRejectedError, UnreachableError, UsageError
from privacy.records.manifest import SealedFile

_BLOCK = 1 << 20
_ATTEMPTS = 5
Parts = dict[int, tuple[str, int]]
"""ETag and size in bytes of each part that has arrived, by part number."""
_URL_VALID_S = 3600
"""Seconds for which a presigned URL is valid; a node that needs longer asks for the parts again."""
_CONFIG = Config(
    signature_version="s3v4",
    max_pool_connections=40,
    connect_timeout=10,
    read_timeout=30,
    retries={"max_attempts": 3},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class S3Store:
    """One bucket, or what is below `prefix` in it. `UsageError` if the bucket keeps no versions."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with _store_errors():
            self._s3 = boto3.client("s3", config=_CONFIG)
            state = self._s3.get_bucket_versioning(Bucket=bucket).get("Status")
        if state != "Enabled":
            raise UsageError(
                f"store: {bucket}: must keep versions (got {state or 'none'})",
                f"aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled",
            )

    @classmethod
    def parse(cls, address: str) -> S3Store:
        """From "s3://bucket[/prefix]"."""
        found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/[A-Za-z0-9._/-]*)?", address)
        if not found:
            raise UsageError(f"store: must be s3://BUCKET[/PREFIX] (got {address!r})", "or a folder")
        return cls(found[1], found[2] or "")

    def get(self, key: str) -> bytes | None:
        with _store_errors():
            try:
                return bytes(self._s3.get_object(**self._location(key))["Body"].read())
            except ClientError as problem:
                if _code(problem) in ("NoSuchKey", "404"):
                    return None
                raise

    def first_bytes(self, key: str, most: int) -> bytes:
        with _store_errors():
            try:
                return bytes(self._s3.get_object(**self._location(key), Range=f"bytes=0-{most - 1}")["Body"].read(most))
            except ClientError as problem:
                if _code(problem) in ("InvalidRange", "416"):  # an empty object has no first byte
                    return b""
                raise

    def put(self, key: str, data: bytes) -> None:
        with _store_errors():
            self._s3.put_object(**self._location(key), Body=data)

    def put_marker(self, key: str) -> None:
        self.put(key, b"")

    def remove_marker(self, key: str) -> None:
        self.erase(key)

    def names(self, folder: str) -> Iterator[str]:
        with _store_errors():
            for page in self._pages("list_objects_v2", Prefix=f"{self._prefix}{folder}/"):
                for found in page.get("Contents", []):
                    yield found["Key"].removeprefix(self._prefix)

    def folders(self, folder: str) -> list[str]:
        above = f"{self._prefix}{folder}/"
        with _store_errors():
            pages = self._pages("list_objects_v2", Prefix=above, Delimiter="/")
            return [found["Prefix"].removeprefix(above).rstrip("/") for page in pages for found in page.get("CommonPrefixes", [])]

    def erase(self, key: str) -> int:
        """One request a version: the batch call needs a checksum that not all stores accept."""
        count = 0
        with _store_errors():
            for page in self._pages("list_object_versions", Prefix=self._prefix + key):
                versions, marks = page.get("Versions", []), page.get("DeleteMarkers", [])
                for found in [*versions, *marks]:
                    if self._is_at_or_below(found["Key"], key):
                        self._s3.delete_object(Bucket=self._bucket, Key=found["Key"], VersionId=found["VersionId"])
                        count += found in versions
        return count

    def lock(self, what: Literal["object", "node"], name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """No lock: S3-compatible stores have none in common. Each method gives the same result to two processes at once."""
        return nullcontext()

    def parts(self, upload: Upload) -> list[Part]:
        with _store_errors():
            return [part for file in upload.files for part in self._parts_of(upload, file)]

    def part_sink(self, upload: Upload, span: PartRange) -> _PartBody:
        return _PartBody(self, upload.keys[span.file], span.number)

    def join(self, upload: Upload) -> tuple[SealedFile, ...]:
        with _store_errors():
            for file in upload.files:
                self._complete(upload.keys[file.name], upload.part_ranges(file))
            return tuple(self._read_back(file.name, upload.keys[file.name]) for file in upload.files)

    def discard(self, upload: Upload) -> None:
        with _store_errors():
            for key in upload.keys.values():
                for one in self._open_uploads(key):
                    with _ignore_ended_upload():
                        self._s3.abort_multipart_upload(**self._location(key), UploadId=one["UploadId"])

    def upload_part(self, key: str, number: int, body: Any, md5: str) -> None:
        """Upload one part that arrived at the ingest. md5: base64; the store refuses bytes that do not match it."""
        with _store_errors():
            upload = self._open_upload(key)[0]
            if upload is not None:
                self._s3.upload_part(**self._location(key), UploadId=upload, PartNumber=number, Body=body, ContentMD5=md5)

    def _parts_of(self, upload: Upload, file: SealedFile) -> list[Part]:
        key, slices, md5 = upload.keys[file.name], upload.part_ranges(file), upload.md5.get(file.name, ())
        if len(md5) != len(slices):
            raise RequestRejectedError(
                400, f"md5: {file.name}: {len(slices)} parts need one MD5 each (got {len(md5)})", "announce the object with md5"
            )
        number, have = self._open_upload(key)
        if number is None:
            return [span.part("", done=True) for span in slices]
        done = {span.number for span in slices if have.get(span.number, ("", -1))[1] == span.size}
        return [span.part(self._part_url(key, number, span, md5), span.number in done) for span in slices]

    def _open_upload(self, key: str) -> tuple[str | None, Parts]:
        """Id and parts of a file's multipart upload, which is begun if there is none; None if the file is already complete.

        If two processes begin one at once, both use the older. Tried again if another process ends the upload meanwhile.
        """
        for _ in range(_ATTEMPTS):
            if self._exists(key):
                return None, {}
            number = self._oldest_upload_id(key)
            if number is None:
                self._s3.create_multipart_upload(**self._location(key))
                continue
            with _ignore_ended_upload():
                return number, self._uploaded_parts(key, number)
        raise UnreachableError(f"store: {key}: other processes begin and end uploads of it", "try again later")

    def _part_url(self, key: str, upload: str, span: PartRange, md5: tuple[str, ...]) -> str:
        bound = {"UploadId": upload, "PartNumber": span.number, "ContentMD5": md5[span.number - 1]}
        return str(self._s3.generate_presigned_url("upload_part", Params=self._location(key) | bound, ExpiresIn=_URL_VALID_S))

    def _complete(self, key: str, slices: list[PartRange]) -> None:
        number, have = self._open_upload(key)
        if number is not None:
            parts = [{"PartNumber": span.number, "ETag": have[span.number][0]} for span in slices if span.number in have]
            with _ignore_ended_upload():
                self._s3.complete_multipart_upload(**self._location(key), UploadId=number, MultipartUpload={"Parts": parts})

    def _read_back(self, name: str, key: str) -> SealedFile:
        body, digest, size = self._s3.get_object(**self._location(key))["Body"], hashlib.sha256(), 0
        for block in body.iter_chunks(_BLOCK):
            digest.update(block)
            size += len(block)
        return SealedFile(name, size, digest.hexdigest())

    def _oldest_upload_id(self, key: str) -> str | None:
        opened = self._open_uploads(key)
        return str(min((one["Initiated"], one["UploadId"]) for one in opened)[1]) if opened else None

    def _uploaded_parts(self, key: str, upload: str) -> Parts:
        pages = self._pages("list_parts", Key=self._prefix + key, UploadId=upload)
        return {part["PartNumber"]: (part["ETag"], part["Size"]) for page in pages for part in page.get("Parts", [])}

    def _open_uploads(self, key: str) -> list[dict[str, Any]]:
        pages = self._pages("list_multipart_uploads", Prefix=self._prefix + key)
        return [one for page in pages for one in page.get("Uploads", []) if one["Key"] == self._prefix + key]

    def _exists(self, key: str) -> bool:
        try:
            self._s3.head_object(**self._location(key))
        except ClientError as problem:
            if _code(problem) in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def _is_at_or_below(self, found: str, key: str) -> bool:
        return found == self._prefix + key or found.startswith(f"{self._prefix}{key}/")

    def _pages(self, call: str, **words: Any) -> Iterator[dict[str, Any]]:
        yield from self._s3.get_paginator(call).paginate(Bucket=self._bucket, **words)

    def _location(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


class _PartBody:
    """A part that arrives at the ingest: kept in a temporary file until it is whole, then sent to the object store."""

    def __init__(self, store: S3Store, key: str, number: int) -> None:
        self._store, self._key, self._number = store, key, number
        self._body = SpooledTemporaryFile(_BLOCK)  # noqa: SIM115 (closed by drop)
        self.write = self._body.write

    def keep(self, md5: str) -> None:
        self._body.seek(0)
        self._store.upload_part(self._key, self._number, self._body, md5)

    def drop(self) -> None:
        self._body.close()


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn boto3's errors into `UnreachableError`: the node may try again."""
    try:
        yield
    except ClientError as problem:
        raise UnreachableError(f"store: {problem.operation_name}: {_code(problem)}", "the object store's log says why") from problem
    except BotoCoreError as problem:
        raise UnreachableError(f"store: {problem}", "are AWS_ENDPOINT_URL and the credentials right?") from problem


@contextmanager
def _ignore_ended_upload() -> Iterator[None]:
    """Ignore that another process has completed or aborted this upload; the caller looks again where that matters."""
    try:
        yield
    except ClientError as problem:
        if _code(problem) != "NoSuchUpload":
            raise


def _code(problem: ClientError) -> str:
    return str(problem.response.get("Error", {}).get("Code", ""))
