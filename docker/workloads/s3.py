"""Models in S3: one request for each object, so that it is there whole or not at all.

Region, credentials and endpoint are boto3's own affair: a role of the task or pod, AWS_PROFILE,
AWS_ENDPOINT_URL_S3.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from program import Problem
from progress import Progress

_LARGEST = 5 * 1024**3
"""Bytes that S3 takes in one PutObject. One object in parts would have a checksum of checksums."""

_SCHEME = "s3://"


def is_address(place: str) -> bool:
    """Whether a place is s3://..., rather than a path."""
    return place.startswith(_SCHEME)


def upload(path: Path, address: str, sha256: str) -> None:
    """Put a file into S3, which computes its SHA-256 as well and refuses what differs.

    Raises:
        Problem: it is too large, or S3 does not take it.
    """
    bucket, key = _parts(address)
    size = path.stat().st_size
    if size > _LARGEST:
        raise Problem(f"{address}: {size} bytes are more than {_LARGEST}, S3's limit")
    # As many bytes as a request may have: never in parts.
    transfer = _transfer(multipart_threshold=_LARGEST + 1)
    extra = {
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
    }
    with _told(address, "s3:PutObject"), Progress(f"uploading {address}", size) as progress:
        _client().upload_file(
            str(path), bucket, key, ExtraArgs=extra, Callback=progress, Config=transfer
        )


def download(address: str, path: Path) -> Path:
    """Fetch an object into a file; gives the file.

    Raises:
        Problem: it is not there, or S3 does not give it.
    """
    bucket, key = _parts(address)
    with _told(address, "s3:GetObject"):
        client = _client()
        # HEAD, which has no body, would not tell a bucket that is missing from an object.
        answer = client.get_object(Bucket=bucket, Key=key)
        answer["Body"].close()
        size = answer["ContentLength"]
        with Progress(f"downloading {address}", size) as progress:
            client.download_file(bucket, key, str(path), Callback=progress)
    return path


def look_for_bucket(address: str) -> None:
    """Find out about a bucket that there is not before a long compilation, not after it.

    Raises:
        Problem: there is no such bucket, or no way to S3.
    """
    from botocore.exceptions import ClientError

    bucket, key = _parts(address)
    with _told(address, "s3:PutObject"):
        try:
            _client().get_object(Bucket=bucket, Key=key)["Body"].close()
        except ClientError as error:
            # Who may only write is refused here, and an object need not be there yet.
            if error.response["Error"]["Code"] not in ("AccessDenied", "NoSuchKey"):
                raise


def remove(address: str) -> None:
    """Delete an object.

    Raises:
        Problem: S3 does not allow it.
    """
    bucket, key = _parts(address)
    with _told(address, "s3:DeleteObject"):
        _client().delete_object(Bucket=bucket, Key=key)


def _parts(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(_SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise Problem(f"{address}: must be s3://BUCKET/KEY")
    return bucket, key


def _client() -> Any:
    import boto3

    return boto3.client("s3")


def _transfer(**settings: Any) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(**settings)


@contextmanager
def _told(address: str, right: str) -> Iterator[None]:
    """Say what S3 or boto3 complained of in words that tell what to do."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise Problem(f"{address}: {_complaint(error, right)}") from None
    except Boto3Error as error:
        # s3transfer wraps what happened; what it wrapped says it better.
        cause = error.__cause__ or error.__context__
        told = _complaint(cause, right) if isinstance(cause, ClientError) else str(error)
        raise Problem(f"{address}: {told}") from None
    except (BotoCoreError, OSError, ValueError) as error:
        raise Problem(f"{address}: {error}") from None


def _complaint(error: Any, right: str) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return "there is no such bucket"
    if code in ("404", "NoSuchKey"):
        return "there is no such object"
    if code in ("403", "AccessDenied"):
        return (
            f"no permission: {right} is needed on it, and s3:ListBucket to be told what is missing"
        )
    return f"S3 answered {code}: {error.response.get('Error', {}).get('Message', '')}"
