"""Models in S3: missing, damaged and denied objects, and that no incomplete model remains."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.http import serving
from tests.support.programs import Programs
from tests.workloads.conftest import FAKE_CREDENTIALS, NO_AWS_FILES, Bucket, Trained

pytestmark = pytest.mark.workloads

STORE = ("housing", "--weights", "none", "--target", "cpu", "--model")
LOAD = ("--duration", "0.1", "--metrics-port", "0", "--model")
ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"


class _RestrictedS3(BaseHTTPRequestHandler):
    """S3 server that allows some requests, denies all others, and records them."""

    requests: list[str]
    allowed: tuple[str, ...] = ()

    def _respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.requests.append(f"{self.command} {self.path.partition('?')[0]}")
        allowed = self.requests[-1] in self.allowed
        body = b"" if allowed or self.command == "HEAD" else ERROR.format("AccessDenied").encode()
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = _respond

    def log_message(self, *_: object) -> None:
        pass


def restricted_s3(*allowed: str) -> type[_RestrictedS3]:
    """Return a server that allows only these requests."""
    return type("RestrictedS3", (_RestrictedS3,), {"requests": [], "allowed": allowed})


def with_server(programs: Programs, url: str) -> Programs:
    """Return the programs with the URL of an S3 server and fake credentials."""
    environment = {**FAKE_CREDENTIALS, **NO_AWS_FILES, "AWS_ENDPOINT_URL_S3": url}
    return Programs(programs.python, programs.folder, **environment)


def stored(trained: Trained, bucket: Bucket, with_torch: Path) -> Programs:
    """Store a model in the bucket; return programs that use it."""
    for name in ("m.pt", "m.pt.json"):
        content = (trained.folder / name.replace("m.pt", "housing.pt")).read_bytes()
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=content)
    return Programs(with_torch, trained.folder, **bucket.environment)


def test_missing_bucket_and_missing_object(
    trained: Trained, bucket: Bucket, with_torch: Path
) -> None:
    programs = stored(trained, bucket, with_torch)
    assert programs.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt").status == 0
    for location, expected in (
        ("s3://no-such-bucket/m.pt", "s3://no-such-bucket/m.pt.json: the bucket does not exist"),
        (f"s3://{bucket.name}/n.pt", f"s3://{bucket.name}/n.pt.json: the object does not exist"),
    ):
        done = programs.run("inference.py", *LOAD, location)
        assert (done.status, done.err) == (1, f"inference.py: {expected}\n")


def test_progress_is_shown_on_terminals_only(programs: Programs, bucket: Bucket) -> None:
    with_s3 = Programs(programs.python, programs.folder, **bucket.environment)
    location = f"s3://{bucket.name}/m.pt"
    assert with_s3.run("compile.py", *STORE, location).err == ""
    bar = f"uploading {location} [{'#' * 30}] 100%"
    assert bar in with_s3.on_a_terminal("compile.py", *STORE, location)


@pytest.mark.parametrize("content", [b"", b"half a model"])
def test_overwritten_object_is_rejected(
    trained: Trained, bucket: Bucket, with_torch: Path, content: bytes
) -> None:
    programs = stored(trained, bucket, with_torch)
    bucket.client.put_object(Bucket=bucket.name, Key="m.pt", Body=content)
    done = programs.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt")
    assert done.status == 1
    assert "m.pt does not match its metadata " in done.err
    assert f"({len(content)} bytes, expected " in done.err


def test_denied_read_names_the_permission(programs: Programs) -> None:
    with serving(restricted_s3()) as url:
        done = with_server(programs, url).run("inference.py", *LOAD, "s3://models/m.pt")
    assert done.status == 1
    assert done.err.startswith(
        "inference.py: s3://models/m.pt.json: access denied: allow s3:GetObject on it"
    )


def test_denied_write_names_the_permission(programs: Programs) -> None:
    with serving(restricted_s3()) as url:
        done = with_server(programs, url).run("compile.py", *STORE, "s3://models/m.pt")
    assert done.status == 1
    assert done.err.startswith(
        "compile.py: s3://models/m.pt: access denied: allow s3:PutObject on it"
    )


def test_model_is_removed_if_metadata_is_denied(programs: Programs) -> None:
    server = restricted_s3("PUT /models/m.pt", "DELETE /models/m.pt")
    with serving(server) as url:
        done = with_server(programs, url).run("compile.py", *STORE, "s3://models/m.pt")
    assert done.status == 1
    assert "s3://models/m.pt.json: access denied" in done.err
    assert [each for each in server.requests if not each.startswith("GET")] == [
        "PUT /models/m.pt",
        "PUT /models/m.pt.json",
        "DELETE /models/m.pt",
    ]


def test_unreachable_server_and_missing_credentials(programs: Programs, bucket: Bucket) -> None:
    unreachable = with_server(programs, "http://127.0.0.1:1")
    done = unreachable.run("inference.py", *LOAD, "s3://models/m.pt")
    assert done.status == 1
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:1/models' in done.err
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    environment = {**NO_AWS_FILES, "AWS_ENDPOINT_URL_S3": endpoint}
    without_credentials = Programs(programs.python, programs.folder, **environment)
    done = without_credentials.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt")
    assert done.status == 1
    assert done.err.endswith(": Unable to locate credentials\n")
