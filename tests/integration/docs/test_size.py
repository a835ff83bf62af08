"""Documents are short, and do not depend on the machine they were written on."""

from __future__ import annotations

import re

import pytest

from tests.support.documents import DOCUMENTS, text
from tests.support.paths import ROOT

UNLIMITED = {"CHANGELOG.md", "METRICS.md"}


def test_the_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= 200


@pytest.mark.parametrize("document", sorted(set(DOCUMENTS) - UNLIMITED))
def test_documents_have_at_most_500_lines(document: str) -> None:
    assert len(text(document).splitlines()) <= 500


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_path_of_a_machine(document: str) -> None:
    assert str(ROOT) not in text(document)
    assert not re.search(r"/(home|root|Users)/", text(document))
