"""Models in S3. Each object is one request, so that it is either complete or absent.

boto3 determines region, credentials and endpoint: a task's or pod's role, AWS_PROFILE,
AWS_ENDPOINT_URL_S3.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from progress import Progress
from runner import UserError

_MAX_SIZE = 5 * 1024**3
"""S3's limit for a PutObject, in bytes. A multipart upload would have a checksum of checksums."""

_SCHEME = "s3://"


def is_address(location: str) -> bool:
    """Return whether a location is an S3 address rather than a path."""
    return location.startswith(_SCHEME)


def upload(path: Path, address: str, sha256: str) -> None:
    """Upload a file; S3 verifies the SHA-256.

    Raises:
        UserError: the file is too large, or S3 rejects it.
    """
    bucket, key = _split(address)
    size = path.stat().st_size
    if size > _MAX_SIZE:
        raise UserError(f"{address}: size must be at most {_MAX_SIZE}, S3's limit (got {size})")
    # The threshold is out of reach: the upload is never split into parts.
    transfer = _transfer(multipart_threshold=_MAX_SIZE + 1)
    extra = {
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode(),
    }
    with _errors(address, "s3:PutObject"), Progress(f"uploading {address}", size) as progress:
        _client().upload_file(
            str(path), bucket, key, ExtraArgs=extra, Callback=progress, Config=transfer
        )


def download(address: str, path: Path) -> Path:
    """Download an object into a file and return the file.

    Raises:
        UserError: the object does not exist or is not readable.
    """
    bucket, key = _split(address)
    with _errors(address, "s3:GetObject"):
        client = _client()
        # HEAD has no body, so its errors do not distinguish a missing bucket from a missing object.
        response = client.get_object(Bucket=bucket, Key=key)
        response["Body"].close()
        size = response["ContentLength"]
        with Progress(f"downloading {address}", size) as progress:
            client.download_file(bucket, key, str(path), Callback=progress)
    return path


def check_bucket(address: str) -> None:
    """Check that the bucket exists, so that a long compilation does not fail at its end.

    Raises:
        UserError: the bucket does not exist or S3 is unreachable.
    """
    from botocore.exceptions import ClientError

    bucket, key = _split(address)
    with _errors(address, "s3:PutObject"):
        try:
            _client().get_object(Bucket=bucket, Key=key)["Body"].close()
        except ClientError as error:
            # Write-only access is denied here, and the object need not exist yet.
            if error.response["Error"]["Code"] not in ("AccessDenied", "NoSuchKey"):
                raise


def remove(address: str) -> None:
    """Delete an object.

    Raises:
        UserError: S3 does not allow it.
    """
    bucket, key = _split(address)
    with _errors(address, "s3:DeleteObject"):
        _client().delete_object(Bucket=bucket, Key=key)


def _split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(_SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise UserError(f"{address}: must be s3://BUCKET/KEY")
    return bucket, key


def _client() -> Any:
    import boto3

    return boto3.client("s3")


def _transfer(**settings: Any) -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(**settings)


@contextmanager
def _errors(address: str, permission: str) -> Iterator[None]:
    """Convert errors of S3 and boto3 to a UserError that suggests a remedy."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise UserError(f"{address}: {_message(error, permission)}") from None
    except Boto3Error as error:
        # s3transfer wraps the original error, which is clearer.
        cause = error.__cause__ or error.__context__
        message = _message(cause, permission) if isinstance(cause, ClientError) else str(error)
        raise UserError(f"{address}: {message}") from None
    except (BotoCoreError, OSError, ValueError) as error:
        raise UserError(f"{address}: {error}") from None


def _message(error: Any, permission: str) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket":
        return "the bucket does not exist"
    if code in ("404", "NoSuchKey"):
        return "the object does not exist"
    if code in ("403", "AccessDenied"):
        return (
            f"access denied: allow {permission} on it, and s3:ListBucket so that S3 reports "
            "missing objects"
        )
    return f"S3 returned {code}: {error.response.get('Error', {}).get('Message', '')}"
