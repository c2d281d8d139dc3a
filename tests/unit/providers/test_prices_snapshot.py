"""The prices that come with Porter, and the sums made with them."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.domain.errors import Invalid
from porter.domain.money import Tariff, Tier
from porter.domain.site import SiteKind
from porter.providers.base import SiteConfig
from porter.providers.prices import egress, make_snapshot, snapshot
from porter.providers.prices.shapes import gcp_shape
from porter.providers.prices.tariffs import with_free

PROMISED = {
    (SiteKind.AWS, "eu-west-1 us-east-1"): (
        "t3.medium t3.large m6i.large m6i.xlarge m5.large c6i.large r6i.large"
    ),
    (SiteKind.AZURE, "westeurope eastus"): (
        "Standard_B2s Standard_D2s_v5 Standard_D4s_v5 Standard_E2s_v5"
    ),
    (
        SiteKind.GCP,
        "europe-west1 us-central1",
    ): "e2-medium e2-standard-2 e2-standard-4 n2-standard-2",
}
FREE_LICENCES = {"MIT", "Apache-2.0", "a figure, cited"}


def test_every_entry_has_amount_currency_date_source_and_licence() -> None:
    data = snapshot.load()
    used = {group["source"] for group in (*data["instances"], *data["egress"])}
    for key in used:
        source = data["sources"][key]
        assert source["name"]
        assert source["licence"] in FREE_LICENCES
        assert date(2023, 1, 1) < date.fromisoformat(source["as_of"]) <= date.today()
    count = 0
    for group in data["instances"]:
        assert group["currency"] == "USD"
        assert group["terms"] == "on_demand"
        for region, prices in group["prices"].items():
            for name, amount in prices.items():
                assert Decimal("0.001") < Decimal(amount) < Decimal(100), (region, name)
                count += 1
    assert count > 3000
    path = Path(str(snapshot.__file__)).with_name("snapshot.json")
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize(("place", "names"), PROMISED.items())
def test_the_common_types_are_priced(place: tuple[SiteKind, str], names: str) -> None:
    kind, regions = place
    for region in regions.split():
        for name in names.split():
            quote = snapshot.quote(kind, region, name, "on_demand")
            assert quote is not None, (region, name)
            assert quote.amount is not None
            assert Decimal("0.02") < quote.amount < Decimal("0.4")
            assert quote.source.startswith(f"snapshot {quote.as_of}")
            assert name in snapshot.types(kind, region)


def test_prices_grow_with_size_within_a_family() -> None:
    for region in ("us-east-1", "eu-west-1", "ap-northeast-1"):
        amounts = []
        for size in ("large", "xlarge", "2xlarge", "4xlarge"):
            quote = snapshot.quote(SiteKind.AWS, region, f"m6i.{size}", "on_demand")
            assert quote is not None
            amounts.append(quote.amount)
        assert amounts == sorted(set(amounts))


def test_spot_is_never_told_from_a_snapshot() -> None:
    assert snapshot.quote(SiteKind.AWS, "us-east-1", "m5.large", "spot") is None


def test_an_estimate_says_so() -> None:
    quote = snapshot.quote(SiteKind.AZURE, "westeurope", "Standard_D2s_v5", "on_demand")
    assert quote is not None
    assert "estimate" in quote.source


@pytest.mark.parametrize(
    ("kind", "region", "to_kind", "to_region", "first"),
    [
        (SiteKind.AWS, "eu-west-1", SiteKind.ONPREM, "", "0.09"),
        (SiteKind.AWS, "eu-west-1", SiteKind.GCP, "europe-west1", "0.09"),
        (SiteKind.AWS, "us-east-1", SiteKind.AWS, "us-east-2", "0.01"),
        (SiteKind.AWS, "eu-west-1", SiteKind.AWS, "us-east-1", "0.02"),
        (SiteKind.AWS, "eu-west-1", SiteKind.AWS, "eu-west-1", "0.02"),
        (SiteKind.AWS, "sa-east-1", SiteKind.ONPREM, "", "0.15"),
        (SiteKind.AZURE, "westeurope", SiteKind.AWS, "eu-west-1", "0.087"),
        (SiteKind.AZURE, "westeurope", SiteKind.AZURE, "eastus", "0.02"),
        (SiteKind.AZURE, "westeurope", SiteKind.AZURE, "westeurope", "0"),
        (SiteKind.GCP, "europe-west1", SiteKind.ONPREM, "", "0.12"),
        (SiteKind.GCP, "europe-west1", SiteKind.GCP, "europe-west4", "0.02"),
    ],
)
def test_tariffs(
    kind: SiteKind, region: str, to_kind: SiteKind, to_region: str, first: str
) -> None:
    tariff = egress(SiteConfig("s", kind, region)).tariff(to_kind, to_region)
    assert tariff.tiers[0] == Tier(Decimal(0), Decimal(first))
    assert tariff.currency == "USD"
    assert tariff.as_of[:2] == "20"
    assert "snapshot" in tariff.source


@pytest.mark.parametrize(
    ("kind", "region"),
    [(SiteKind.ONPREM, ""), (SiteKind.OPENSTACK, "RegionOne"), (SiteKind.AWS, "xx-moon-1")],
)
def test_an_unknown_tariff_says_why(kind: SiteKind, region: str) -> None:
    tariff = egress(SiteConfig("s", kind, region)).tariff(SiteKind.AWS, "eu-west-1")
    assert not tariff.known
    assert tariff.cost(Decimal(1)) is None
    assert "eu-west-1 is known" in tariff.source


def test_settings_may_name_the_rate_but_not_without_date_and_currency() -> None:
    settings = {"egress_per_gb": "0.03", "currency": "EUR", "egress_as_of": "2026-11-01"}
    told = egress(SiteConfig("home", SiteKind.ONPREM, "", settings))
    tariff = told.tariff(SiteKind.AWS, "eu-west-1")
    assert tariff.cost(Decimal(10)) == Decimal("0.30")
    assert (tariff.currency, tariff.as_of) == ("EUR", "2026-11-01")
    for broken in (
        {"egress_per_gb": "0.03"},
        {**settings, "egress_per_gb": "-1"},
        {**settings, "egress_per_gb": "cheap"},
        {**settings, "egress_as_of": ""},
    ):
        with pytest.raises(Invalid):
            egress(SiteConfig("home", SiteKind.ONPREM, "", broken))


def test_a_free_allowance_counts_for_the_internet_only() -> None:
    config = SiteConfig("a", SiteKind.AWS, "eu-west-1", {"egress_free_gb": "100"})
    out = egress(config).tariff(SiteKind.ONPREM, "")
    assert out.cost(Decimal(100)) == 0
    assert out.cost(Decimal(110)) == Decimal("0.90")
    assert "100 GB free" in out.source
    assert egress(config).tariff(SiteKind.AWS, "eu-west-1").cost(Decimal(100)) == 2


amounts = st.decimals(0, 1_000_000, places=3)


@given(
    gb=amounts,
    more=amounts,
    already=amounts,
    free=st.decimals(0, 400_000, places=0),
    starts=st.lists(st.integers(1, 500_000), max_size=4, unique=True),
    rates=st.lists(st.decimals(0, 1, places=4), min_size=5, max_size=5),
)
def test_tiers_add_up(
    gb: Decimal,
    more: Decimal,
    already: Decimal,
    free: Decimal,
    starts: list[int],
    rates: list[Decimal],
) -> None:
    edges = [Decimal(0), *(Decimal(one) for one in sorted(starts))]
    tiers = tuple(Tier(above, rate) for above, rate in zip(edges, rates, strict=False))
    tariff = Tariff(tiers, "USD", "2026-01-01", "test")
    whole = tariff.cost(gb + more, already)
    first, second = tariff.cost(gb, already), tariff.cost(more, already + gb)
    assert whole is not None
    assert first is not None
    assert second is not None
    assert whole == first + second
    assert min(rates) * gb <= first <= max(rates) * gb
    allowed = with_free(tariff, free)
    paid = tariff.cost(max(gb - free, Decimal(0)), free)
    assert allowed.cost(gb) == paid
    assert [tier.above_gb for tier in allowed.tiers] == sorted(
        {tier.above_gb for tier in allowed.tiers}
    )


def test_shapes() -> None:
    medium, odd = gcp_shape("e2-medium"), gcp_shape("n1-highmem-4")
    assert medium is not None
    assert odd is not None
    assert (medium.cpus, medium.gib) == (1, 4)
    assert (odd.cpus, odd.gib) == (4, 26)
    for name in ("a2-highgpu-1g", "c3-standard-4-lssd", "n2-custom-2-4096", "", "e2"):
        assert gcp_shape(name) is None


def test_a_family_price_is_what_most_sizes_say() -> None:
    table = {
        "m5.large": {"r": 0.107},
        "m5.xlarge": {"r": 0.0},  # nobody knew
        "m5.2xlarge": {"r": 0.428},
        "m5.4xlarge": {"r": 0.9416},  # dedicated
        "m5.8xlarge": {"r": 1.883},  # dedicated too
        "c5.large": {"r": 0.09},  # alone: nobody agrees
        "x1.large": {"r": 1.0},
    }
    assert make_snapshot.family_prices(table, "r") == {"m5": pytest.approx(0.0535)}


def test_what_sources_disagree_on_is_left_out() -> None:
    libcloud = {
        "m5.large": {"us-east-1": 0.096, "eu-west-1": 0.107},
        "m5.xlarge": {"us-east-1": 0.192, "eu-west-1": 0.214},
        "c5.large": {"us-east-1": 0.085, "eu-west-1": 0.096},
        "c5.xlarge": {"us-east-1": 0.17, "eu-west-1": 0.192},
    }
    tables = {
        "libcloud": {"ec2_linux": libcloud},
        "cloudcost_aws": {"m5.large": 0.096, "c5.large": 0.1, "db.m5.large": 1.0},
        "cloudprice": {"aws": {"instances": [{"sku": "m5.large", "hourly_usd": 0.0961}]}},
    }
    first, rest = make_snapshot.aws(tables)
    assert first["prices"] == {"us-east-1": {"m5.large": "0.096"}}
    assert rest["prices"]["eu-west-1"] == {"m5.large": "0.107", "m5.xlarge": "0.214"}
    assert "m5.large" not in rest["prices"]["us-east-1"]


def test_the_file_reads_well_in_a_diff() -> None:
    made = {
        "sources": {"a": {"name": "n"}},
        "instances": [{"kind": "aws", "prices": {"r": {"t": "1"}, "s": {"t": "2"}}}],
        "egress": [{"kind": "aws"}, {"kind": "gcp"}],
    }
    assert json.loads(make_snapshot._lines(made)) == made
