"""Policies in sentences."""

from __future__ import annotations

from porter.web.pages.rules import in_words

WHOLE = """\
version: 1
name: production
project: "*"
workloads: ["shop", "shop-*"]
approval:
  to: ["aws:*"]
windows:
  - {cron: "0 22 * * *", zone: "Europe/Berlin", length: 4h}
residency:
  allow: ["onprem", "aws:eu-*"]
  forbid: ["aws:eu-south-1"]
egress:
  max_bytes: 20 GB
  max_cost: {amount: "5", currency: USD}
price:
  max_hourly: {amount: "0.5", currency: USD}
  if_unknown: refuse
"""


def test_every_rule_has_its_sentence() -> None:
    said = in_words(WHOLE)
    assert said[0] == "It holds for shop, shop-* in all projects."
    assert said[1] == "Moves to aws:* need another person's approval."
    assert "Europe/Berlin" in said[2]
    assert said[3] == "Only these sites are allowed: onprem, aws:eu-*."
    assert said[4] == "These sites are forbidden: aws:eu-south-1."
    assert said[5].startswith("At most 20 GB and 5 USD may leave a site")
    assert said[6].endswith("at most 0.5 USD an hour; where that is not known, it is refused.")


def test_one_that_cannot_be_read_says_why() -> None:
    assert "cannot read the policy" in in_words("version: 2")[0]
