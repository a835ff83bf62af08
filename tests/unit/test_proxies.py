"""The environment in which link-local services have no proxy, as Python's libraries read it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest
from botocore.utils import get_environ_proxies

from neuron_exporter.proxies import exempt_local_services

LOCAL = (
    "http://169.254.169.254/latest/api/token",
    "http://169.254.169.254:80/",
    "http://[fd00:ec2::254]/",
    "http://169.254.170.2/v2/credentials",
    "http://169.254.170.23/v1/credentials",
    "http://[fd00:ec2::23]/v1/credentials",
)
PROXY = "http://proxy.test:3128"


def without_proxy(monkeypatch: pytest.MonkeyPatch, *urls: str, **given: str) -> list[str]:
    """Return the URLs for which botocore uses no proxy in this environment."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    exempt_local_services(os.environ)
    return [url for url in urls if not get_environ_proxies(url)]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "Http_Proxy"])
@pytest.mark.parametrize(
    "exempt",
    [
        {},
        {"NO_PROXY": ""},
        {"NO_PROXY": "a.test, b.test"},
        {"no_proxy": "a.test,b.test"},
        {"NO_PROXY": "a.test", "no_proxy": "b.test"},
        {"NO_PROXY": "a.test", "no_proxy": ""},
        {"No_Proxy": "a.test"},
        {"NO_PROXY": "169.254.0.0/16"},
    ],
)
def test_local_services_have_no_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, exempt: Mapping[str, str]
) -> None:
    """Whatever is exempt already; other addresses keep their proxy."""
    urls = (*LOCAL, "http://monitoring.us-east-1.amazonaws.com/", "http://169.254.1.1/")
    found = without_proxy(monkeypatch, *urls, **{name: PROXY}, **exempt)
    assert found == [*LOCAL]


def test_exempt_addresses_stay_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"HTTP_PROXY": PROXY, "NO_PROXY": "a.test, .b.test"}
    urls = ("http://a.test/", "http://x.b.test/")
    assert without_proxy(monkeypatch, *urls, **given) == [*urls]


def test_no_proxy_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "*" is understood only alone."""
    url = "http://monitoring.us-east-1.amazonaws.com/"
    assert without_proxy(monkeypatch, url, HTTP_PROXY=PROXY, NO_PROXY="*") == [url]


def test_configured_metadata_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://metadata.test:1338/base"}
    urls = ("http://metadata.test:1338/base/latest", "http://metadata.test:80/")
    assert without_proxy(monkeypatch, *urls, HTTP_PROXY=PROXY, **given) == [urls[0]]


def test_environment_without_a_proxy_is_not_changed() -> None:
    given = {"PATH": "/bin", "AWS_REGION": "us-east-1"}
    environment = dict(given)
    exempt_local_services(environment)
    assert environment == given
