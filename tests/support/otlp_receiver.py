"""A receiver of OTLP that only counts, so that it takes little of the machine's time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.support.http import serving


class OtlpReceiver:
    """What has arrived: requests and their bytes, as they were sent."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0
        self.bytes = 0


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Accept every request."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            receiver.bytes += len(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.requests += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as receiver.url:
        yield receiver
