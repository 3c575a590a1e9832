"""A store in any S3-compatible object store, versioned. Nodes PUT parts there, to presigned addresses; no node has a key.

What is on its way is the store's own knowledge: open multipart uploads and their parts are listed, never remembered.
Seen to be ignored by some (Ceph radosgw 16): `If-None-Match` and the newer checksums. So nothing here leans on them; the MD5
of each part is bound by the signature of its address, and the whole is read back before anything is signed about it.
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

from central.store.port import Part, Slice, Upload
from privacy.errors import RequestRejectedError, UnreachableError, UsageError
from privacy.records.manifest import SealedFile

_BLOCK = 1 << 20
_ATTEMPTS = 5
Parts = dict[int, tuple[str, int]]
"""ETag and size in bytes of each part of an upload that is here, by its number."""
_STANDS_S = 3600
"""How long an address may be used; a node that needs longer asks for the parts again."""
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
    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with _told():
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
        with _told():
            try:
                return bytes(self._s3.get_object(**self._at(key))["Body"].read())
            except ClientError as problem:
                if _code(problem) in ("NoSuchKey", "404"):
                    return None
                raise

    def head(self, key: str, most: int) -> bytes:
        with _told():
            try:
                return bytes(self._s3.get_object(**self._at(key), Range=f"bytes=0-{most - 1}")["Body"].read(most))
            except ClientError as problem:
                if _code(problem) in ("InvalidRange", "416"):  # of an empty one there is no first byte
                    return b""
                raise

    def put(self, key: str, data: bytes) -> None:
        with _told():
            self._s3.put_object(**self._at(key), Body=data)

    def hint(self, key: str) -> None:
        self.put(key, b"")

    def unhint(self, key: str) -> None:
        self.erase(key)

    def names(self, folder: str) -> Iterator[str]:
        with _told():
            for page in self._pages("list_objects_v2", Prefix=f"{self._prefix}{folder}/"):
                for found in page.get("Contents", []):
                    yield found["Key"].removeprefix(self._prefix)

    def folders(self, folder: str) -> list[str]:
        above = f"{self._prefix}{folder}/"
        with _told():
            pages = self._pages("list_objects_v2", Prefix=above, Delimiter="/")
            return [found["Prefix"].removeprefix(above).rstrip("/") for page in pages for found in page.get("CommonPrefixes", [])]

    def erase(self, key: str) -> int:
        """One request for each version: the call for many needs a checksum that stores do not agree on."""
        count = 0
        with _told():
            for page in self._pages("list_object_versions", Prefix=self._prefix + key):
                versions, marks = page.get("Versions", []), page.get("DeleteMarkers", [])
                for found in [*versions, *marks]:
                    if self._within(found["Key"], key):
                        self._s3.delete_object(Bucket=self._bucket, Key=found["Key"], VersionId=found["VersionId"])
                        count += found in versions
        return count

    def lock(self, what: Literal["object", "node"], name: str) -> AbstractContextManager[None]:  # noqa: ARG002
        """No lock that every S3-compatible store has: each call below gives the same result to two at once."""
        return nullcontext()

    def parts(self, upload: Upload) -> list[Part]:
        with _told():
            return [part for file in upload.files for part in self._parts_of(upload, file)]

    def sink(self, upload: Upload, piece: Slice) -> _PieceBody:
        return _PieceBody(self, upload.keys[piece.file], piece.number)

    def join(self, upload: Upload) -> tuple[SealedFile, ...]:
        with _told():
            for file in upload.files:
                self._complete(upload.keys[file.name], upload.slices(file))
            return tuple(self._read_back(file.name, upload.keys[file.name]) for file in upload.files)

    def discard(self, upload: Upload) -> None:
        with _told():
            for key in upload.keys.values():
                for one in self._opened(key):
                    with _ended_elsewhere():
                        self._s3.abort_multipart_upload(**self._at(key), UploadId=one["UploadId"])

    def send(self, key: str, number: int, body: Any, md5: str) -> None:
        """One part by the centre itself."""
        with _told():
            upload = self._begun(key)[0]
            if upload is not None:
                self._s3.upload_part(**self._at(key), UploadId=upload, PartNumber=number, Body=body, ContentMD5=md5)

    def _parts_of(self, upload: Upload, file: SealedFile) -> list[Part]:
        key, slices, md5 = upload.keys[file.name], upload.slices(file), upload.md5.get(file.name, ())
        if len(md5) != len(slices):
            raise RequestRejectedError(
                400, f"md5: {file.name}: {len(slices)} parts need one each (got {len(md5)})", "announce it with them"
            )
        number, have = self._begun(key)
        if number is None:
            return [piece.part("", done=True) for piece in slices]
        done = {piece.number for piece in slices if have.get(piece.number, ("", -1))[1] == piece.size}
        return [piece.part(self._address(key, number, piece, md5), piece.number in done) for piece in slices]

    def _begun(self, key: str) -> tuple[str | None, Parts]:
        """The open upload of a file and its parts, begun if there is none; None if the file is whole.

        Of two that were begun at once everybody takes the same. Looked at anew where another process was quicker.
        """
        for _ in range(_ATTEMPTS):
            if self._exists(key):
                return None, {}
            number = self._open(key)
            if number is None:
                self._s3.create_multipart_upload(**self._at(key))
                continue
            with _ended_elsewhere():
                return number, self._have(key, number)
        raise UnreachableError(f"store: {key}: others begin and end uploads of it", "try again later")

    def _address(self, key: str, upload: str, piece: Slice, md5: tuple[str, ...]) -> str:
        bound = {"UploadId": upload, "PartNumber": piece.number, "ContentMD5": md5[piece.number - 1]}
        return str(self._s3.generate_presigned_url("upload_part", Params=self._at(key) | bound, ExpiresIn=_STANDS_S))

    def _complete(self, key: str, slices: list[Slice]) -> None:
        number, have = self._begun(key)
        if number is not None:
            parts = [{"PartNumber": piece.number, "ETag": have[piece.number][0]} for piece in slices if piece.number in have]
            with _ended_elsewhere():
                self._s3.complete_multipart_upload(**self._at(key), UploadId=number, MultipartUpload={"Parts": parts})

    def _read_back(self, name: str, key: str) -> SealedFile:
        body, digest, size = self._s3.get_object(**self._at(key))["Body"], hashlib.sha256(), 0
        for block in body.iter_chunks(_BLOCK):
            digest.update(block)
            size += len(block)
        return SealedFile(name, size, digest.hexdigest())

    def _open(self, key: str) -> str | None:
        opened = self._opened(key)
        return str(min((one["Initiated"], one["UploadId"]) for one in opened)[1]) if opened else None

    def _have(self, key: str, upload: str) -> Parts:
        pages = self._pages("list_parts", Key=self._prefix + key, UploadId=upload)
        return {part["PartNumber"]: (part["ETag"], part["Size"]) for page in pages for part in page.get("Parts", [])}

    def _opened(self, key: str) -> list[dict[str, Any]]:
        pages = self._pages("list_multipart_uploads", Prefix=self._prefix + key)
        return [one for page in pages for one in page.get("Uploads", []) if one["Key"] == self._prefix + key]

    def _exists(self, key: str) -> bool:
        try:
            self._s3.head_object(**self._at(key))
        except ClientError as problem:
            if _code(problem) in ("404", "NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def _within(self, found: str, key: str) -> bool:
        return found == self._prefix + key or found.startswith(f"{self._prefix}{key}/")

    def _pages(self, call: str, **words: Any) -> Iterator[dict[str, Any]]:
        yield from self._s3.get_paginator(call).paginate(Bucket=self._bucket, **words)

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


class _PieceBody:
    """A part on its way through the centre: on the disk, not in memory, until its MD5 is known to be right."""

    def __init__(self, store: S3Store, key: str, number: int) -> None:
        self._store, self._key, self._number = store, key, number
        self._body = SpooledTemporaryFile(_BLOCK)  # noqa: SIM115 (closed by drop)
        self.write = self._body.write

    def keep(self, md5: str) -> None:
        self._body.seek(0)
        self._store.send(self._key, self._number, self._body, md5)

    def drop(self) -> None:
        self._body.close()


@contextmanager
def _told() -> Iterator[None]:
    """The store's own errors in the words of ours. Trying again can help: what a node was promised does not depend on it."""
    try:
        yield
    except ClientError as problem:
        raise UnreachableError(f"store: {problem.operation_name}: {_code(problem)}", "the object store's log says why") from problem
    except BotoCoreError as problem:
        raise UnreachableError(f"store: {problem}", "AWS_ENDPOINT_URL and credentials are right?") from problem


@contextmanager
def _ended_elsewhere() -> Iterator[None]:
    """Another process completed or aborted this upload: whoever needs to know looks again."""
    try:
        yield
    except ClientError as problem:
        if _code(problem) != "NoSuchUpload":
            raise


def _code(problem: ClientError) -> str:
    return str(problem.response.get("Error", {}).get("Code", ""))
