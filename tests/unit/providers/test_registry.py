"""The metadata service of a machine's cloud, by its kind alone."""

from __future__ import annotations

import pytest

from porter.domain.errors import Invalid
from porter.providers.registry import METADATA, open_metadata


@pytest.mark.parametrize("cloud", sorted(METADATA))
def test_every_cloud_with_metadata_opens(cloud: str) -> None:
    assert callable(open_metadata(cloud).notices)
    assert callable(open_metadata(cloud, "http://127.0.0.1:1").instance)


def test_other_places_have_nobody_to_ask() -> None:
    with pytest.raises(Invalid, match="has no metadata service"):
        open_metadata("onprem")
