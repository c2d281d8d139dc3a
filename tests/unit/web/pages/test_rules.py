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
placement: {spot: false, near: ["db-*"], apart: [shop-2]}
limits: {max_downtime: 2s, max_cost: {amount: 5, currency: EUR}}
saving:
  min: {amount: 10, currency: EUR}
  payback: 3d
  downtime: {amount: "0.5", currency: EUR}
budget: {cool_down: 6h, per_hour: 2, per_day: 6}
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
    assert said[7:] == [
        "A schedule may not put it on spot machines.",
        "A schedule keeps it at the site of db-*.",
        "A schedule keeps it off the hosts of others of shop-2.",
        "One move may pause it for 2s, by forecast.",
        "One move may cost 5 EUR once, by forecast.",
        "A schedule moves it only to save 10 EUR or more.",
        "What a scheduled move costs must be earned back within 3d.",
        "A minute of pause is worth 0.5 EUR.",
        "A schedule lets it rest for 6h between two moves.",
        "A schedule begins at most 2 moves of these workloads in an hour.",
        "A schedule begins at most 6 moves of these workloads in a day.",
    ]


def test_one_that_cannot_be_read_says_why() -> None:
    assert "cannot read the policy" in in_words("version: 2")[0]
