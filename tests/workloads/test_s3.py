"""Models in S3: what is missing, damaged or forbidden, and that nothing half is left there."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.http import serving
from tests.support.programs import Programs
from tests.workloads.conftest import NO_OTHERS, NOBODYS, Bucket, Trained

pytestmark = pytest.mark.workloads

STORE = ("housing", "--weights", "none", "--target", "cpu", "--model")
LOAD = ("--duration", "0.1", "--metrics-port", "0", "--model")
ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"


class _Refusing(BaseHTTPRequestHandler):
    """An S3 server that refuses all who may not, and keeps what it was asked for."""

    asked: list[str]
    allowed: tuple[str, ...] = ()

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        may = self.asked[-1] in self.allowed
        body = b"" if may or self.command == "HEAD" else ERROR.format("AccessDenied").encode()
        self.send_response(200 if may else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = _answer

    def log_message(self, *_: object) -> None:
        pass


def refusing(*allowed: str) -> type[_Refusing]:
    """A server that takes these requests alone."""
    return type("Refusing", (_Refusing,), {"asked": [], "allowed": allowed})


def with_server(programs: Programs, url: str) -> Programs:
    """The programs with an S3 server, and credentials of nobody."""
    environment = {**NOBODYS, **NO_OTHERS, "AWS_ENDPOINT_URL_S3": url}
    return Programs(programs.python, programs.folder, **environment)


def stored(trained: Trained, bucket: Bucket, with_torch: Path) -> Programs:
    """A model in the bucket, and the programs that find it."""
    for name in ("m.pt", "m.pt.json"):
        content = (trained.folder / name.replace("m.pt", "housing.pt")).read_bytes()
        bucket.client.put_object(Bucket=bucket.name, Key=name, Body=content)
    return Programs(with_torch, trained.folder, **bucket.environment)


def test_what_is_not_there_is_told_apart(
    trained: Trained, bucket: Bucket, with_torch: Path
) -> None:
    """A bucket that is missing is not an object that is missing."""
    programs = stored(trained, bucket, with_torch)
    assert programs.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt").status == 0
    for place, told in (
        ("s3://no-such-bucket/m.pt", "s3://no-such-bucket/m.pt.json: there is no such bucket"),
        (f"s3://{bucket.name}/n.pt", f"s3://{bucket.name}/n.pt.json: there is no such object"),
    ):
        done = programs.run("inference.py", *LOAD, place)
        assert (done.status, done.err) == (1, f"inference.py: {told}\n")


def test_a_terminal_shows_how_far_it_is_and_a_log_does_not(
    programs: Programs, bucket: Bucket
) -> None:
    """Each file has a bar that fills up; where nobody looks there is not a byte of it."""
    there = Programs(programs.python, programs.folder, **bucket.environment)
    place = f"s3://{bucket.name}/m.pt"
    assert there.run("compile.py", *STORE, place).err == ""
    bar = f"uploading {place} [{'#' * 30}] 100%"
    assert bar in there.on_a_terminal("compile.py", *STORE, place)


@pytest.mark.parametrize("content", [b"", b"half a model"])
def test_an_object_that_is_not_the_one_described_is_not_loaded(
    trained: Trained, bucket: Bucket, with_torch: Path, content: bytes
) -> None:
    """Whoever wrote over the model is found out by its checksum."""
    programs = stored(trained, bucket, with_torch)
    bucket.client.put_object(Bucket=bucket.name, Key="m.pt", Body=content)
    done = programs.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt")
    assert done.status == 1
    assert "m.pt is not the file that " in done.err
    assert f"it has {len(content)} bytes of " in done.err


def test_who_may_not_read_is_told_which_right_is_missing(programs: Programs) -> None:
    """The right is named as a policy names it."""
    with serving(refusing()) as url:
        done = with_server(programs, url).run("inference.py", *LOAD, "s3://models/m.pt")
    assert done.status == 1
    assert done.err.startswith(
        "inference.py: s3://models/m.pt.json: no permission: s3:GetObject is needed on it"
    )


def test_who_may_not_write_is_told_which_right_is_missing(programs: Programs) -> None:
    """Only the upload shows it: who writes need not be allowed to read."""
    with serving(refusing()) as url:
        done = with_server(programs, url).run("compile.py", *STORE, "s3://models/m.pt")
    assert done.status == 1
    assert done.err.startswith(
        "compile.py: s3://models/m.pt: no permission: s3:PutObject is needed on it"
    )


def test_a_model_whose_description_is_refused_does_not_stay(programs: Programs) -> None:
    """Nobody finds a model that nothing describes."""
    server = refusing("PUT /models/m.pt", "DELETE /models/m.pt")
    with serving(server) as url:
        done = with_server(programs, url).run("compile.py", *STORE, "s3://models/m.pt")
    assert done.status == 1
    assert "s3://models/m.pt.json: no permission" in done.err
    assert [each for each in server.asked if not each.startswith("GET")] == [
        "PUT /models/m.pt",
        "PUT /models/m.pt.json",
        "DELETE /models/m.pt",
    ]


def test_no_server_and_no_credentials_are_said(programs: Programs, bucket: Bucket) -> None:
    """What boto3 says of them, in one line."""
    nowhere = with_server(programs, "http://127.0.0.1:1")
    done = nowhere.run("inference.py", *LOAD, "s3://models/m.pt")
    assert done.status == 1
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:1/models' in done.err
    endpoint = bucket.environment["AWS_ENDPOINT_URL_S3"]
    environment = {**NO_OTHERS, "AWS_ENDPOINT_URL_S3": endpoint}
    nobody = Programs(programs.python, programs.folder, **environment)
    done = nobody.run("inference.py", *LOAD, f"s3://{bucket.name}/m.pt")
    assert done.status == 1
    assert done.err.endswith(": Unable to locate credentials\n")
