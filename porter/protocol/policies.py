"""Policy documents: the YAML that people write, read into `domain.policy`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from porter.domain.errors import Invalid
from porter.domain.identity import EVERYWHERE, PROJECT_NAME
from porter.domain.money import Money
from porter.domain.policy import Egress, Hourly, Outcome, Policy
from porter.domain.rules import Budget, Limits, Placement, Saving
from porter.domain.windows import Window, checked

LIMIT = 64 * 1024
"""Characters of a document at most."""
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE = re.compile(r"(\d{1,15})\s*(" + "|".join(_UNITS) + ")")
_LENGTH = re.compile(r"(\d{1,5})\s*(m|h|d)")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)")
_SPANS: dict[str, Decimal] = {"ms": Decimal("0.001"), "s": Decimal(1)}
_SPANS |= {unit: Decimal(seconds) for unit, seconds in _SECONDS.items()}


def _size(given: Any) -> Any:
    found = _SIZE.fullmatch(given.strip()) if isinstance(given, str) else None
    if isinstance(given, str) and found is None:
        raise ValueError("write bytes, or a size like 20 GB")
    return given if found is None else int(found[1]) * _UNITS[found[2]]


def _length(given: Any) -> Any:
    found = _LENGTH.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        raise ValueError("write a length like 90m, 4h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def _span(given: Any) -> Any:
    found = _SPAN.fullmatch(given.strip()) if isinstance(given, str) else None
    if found is None:
        raise ValueError("write a time like 500ms, 2s, 90m, 6h or 3d")
    return float(Decimal(found[1]) * _SPANS[found[2]])


def _written(pattern: re.Pattern[str], *others: dict[str, Any]) -> WithJsonSchema:
    """People write text where the model keeps a number: the schema says what people write."""
    text = {"type": "string", "pattern": rf"^\s*{pattern.pattern}\s*$"}
    return WithJsonSchema({"anyOf": [text, *others]} if others else text)


Span = Annotated[float, BeforeValidator(_span), Field(ge=0, le=3660 * 86400), _written(_SPAN)]
Name = Annotated[str, Field(pattern=f"^{PROJECT_NAME.pattern}$")]
Pattern = Annotated[str, Field(min_length=1, max_length=255)]
Patterns = Annotated[list[Pattern], Field(min_length=1, max_length=100)]
Unknown = Literal["allow", "approval", "refuse"]
_OUTCOMES = {
    "allow": Outcome.ALLOWED,
    "approval": Outcome.APPROVAL,
    "refuse": Outcome.REFUSED,
}


class _Part(BaseModel):
    """What it does not know it refuses; so, too, what was left empty: `approval:` alone would look
    like a demand and be none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key, value in given.items():
                if value is None:
                    raise ValueError(f"{key} is empty: fill it, or leave it out")
        return given


class AmountPart(_Part):
    amount: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=6, strict=False)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]

    def money(self) -> Money:
        return Money(self.amount, self.currency)


class ApprovalPart(_Part):
    """Another person must approve the move's plan."""

    to: Patterns = Field(default_factory=lambda: ["*"])
    """Only for moves to these sites."""


class WindowPart(_Part):
    """When moves may begin. Of several windows one must be open."""

    cron: Annotated[str, Field(max_length=200)]
    zone: Annotated[str, Field(max_length=64)]
    length: Annotated[int, BeforeValidator(_length), Field(ge=60, le=31 * 86400), _written(_LENGTH)]

    def window(self) -> Window:
        return checked(Window(self.cron, self.zone, self.length))


class ResidencyPart(_Part):
    """Where it may be, and where not."""

    allow: Patterns | None = None
    forbid: Patterns | None = None

    @model_validator(mode="after")
    def _something(self) -> ResidencyPart:
        if not self.allow and not self.forbid:
            raise ValueError("name sites to allow or to forbid")
        return self


class EgressPart(_Part):
    """What may leave the source's site with one move, at most."""

    max_bytes: Annotated[
        int | None,
        BeforeValidator(_size),
        Field(ge=0, le=10**18),
        _written(_SIZE, {"type": "integer", "minimum": 0, "maximum": 10**18}),
    ] = None
    max_cost: AmountPart | None = None
    if_unknown: Unknown = "approval"

    @model_validator(mode="after")
    def _something(self) -> EgressPart:
        if self.max_bytes is None and self.max_cost is None:
            raise ValueError("set max_bytes or max_cost")
        return self

    def limits(self) -> Egress:
        cost = None if self.max_cost is None else self.max_cost.money()
        return Egress(self.max_bytes, cost, _OUTCOMES[self.if_unknown])


class PricePart(_Part):
    """What the target may cost an hour, at most."""

    max_hourly: AmountPart
    if_unknown: Unknown = "approval"

    def limit(self) -> Hourly:
        return Hourly(self.max_hourly.money(), _OUTCOMES[self.if_unknown])


class _Filled(_Part):
    """Something must be set."""

    @model_validator(mode="after")
    def _something(self) -> _Filled:
        if not self.model_fields_set:
            raise ValueError(f"set one of {', '.join(type(self).model_fields)}")
        return self


class PlacementPart(_Filled):
    """Where a schedule may put it."""

    spot: bool | None = None
    """On machines that may be taken away at any time. Without a word: no."""
    near: Patterns | None = None
    """At the same site as these workloads."""
    apart: Patterns | None = None
    """Never on the same host as any other of these workloads."""

    def part(self) -> Placement:
        return Placement(self.spot, tuple(self.near or ()), tuple(self.apart or ()))


class LimitsPart(_Filled):
    """What one move may come to by its forecast; holds for moves that people ask for, too."""

    max_downtime: Span | None = None
    max_cost: AmountPart | None = None
    """Once."""

    def part(self) -> Limits:
        return Limits(self.max_downtime, None if self.max_cost is None else self.max_cost.money())


class SavingPart(_Filled):
    """When a move pays that a schedule begins."""

    min: AmountPart | None = None
    """Over the schedule's horizon."""
    payback: Span | None = None
    """What it costs once is earned back within so long."""
    downtime: AmountPart | None = None
    """What a minute of pause is worth."""

    def part(self) -> Saving:
        least = None if self.min is None else self.min.money()
        minute = None if self.downtime is None else self.downtime.money()
        return Saving(least, self.payback, minute)


class BudgetPart(_Filled):
    """How often a schedule may move something."""

    cool_down: Span | None = None
    """Between two moves of one workload."""
    per_hour: Annotated[int | None, Field(ge=0, le=10**6)] = None
    """Moves of the policy's workloads, together."""
    per_day: Annotated[int | None, Field(ge=0, le=10**6)] = None

    def part(self) -> Budget:
        return Budget(self.cool_down, self.per_hour, self.per_day)


class Document(_Part):
    """A policy, version 1 of the format."""

    version: Literal[1]
    name: Name
    project: Annotated[str, Field(pattern=rf"^({PROJECT_NAME.pattern}|\*)$")]
    """`*`: all projects."""
    description: Annotated[str, Field(max_length=2000)] = ""
    workloads: Annotated[list[Pattern], Field(max_length=100)] = Field(
        default_factory=lambda: ["*"]
    )
    """Patterns of names. `[]`: only workloads whose label porter.policy names this policy."""
    approval: ApprovalPart | None = None
    windows: Annotated[list[WindowPart], Field(min_length=1, max_length=50)] | None = None
    residency: ResidencyPart | None = None
    egress: EgressPart | None = None
    price: PricePart | None = None
    placement: PlacementPart | None = None
    limits: LimitsPart | None = None
    saving: SavingPart | None = None
    budget: BudgetPart | None = None

    @model_validator(mode="after")
    def _something(self) -> Document:
        if not self.model_fields_set & set(PARTS):
            raise ValueError(f"it demands nothing: add {', '.join(PARTS)}")
        return self

    def policy(self) -> Policy:
        """Raises Invalid for windows that never open."""
        residency = self.residency
        return Policy(
            name=self.name,
            project=self.project,
            workloads=tuple(self.workloads),
            approval=tuple(self.approval.to) if self.approval else (),
            windows=tuple(one.window() for one in self.windows or ()),
            allow=tuple((residency and residency.allow) or ()),
            forbid=tuple((residency and residency.forbid) or ()),
            egress=None if self.egress is None else self.egress.limits(),
            hourly=None if self.price is None else self.price.limit(),
            placement=None if self.placement is None else self.placement.part(),
            limits=None if self.limits is None else self.limits.part(),
            saving=None if self.saving is None else self.saving.part(),
            budget=None if self.budget is None else self.budget.part(),
        )


HEAD = ("version", "name", "project", "description", "workloads")
PARTS = tuple(name for name in Document.model_fields if name not in HEAD)
"""What a policy can demand."""


def demands(policy: Policy) -> list[str]:
    """Which of PARTS it has."""
    has = {
        **vars(policy),
        "residency": policy.allow or policy.forbid,
        "price": policy.hourly,
    }
    return [part for part in PARTS if has[part]]


class _Loader(yaml.SafeLoader):
    """Refuses what would hide something from a reader: repeated keys, and aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) cannot be used here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {line}: a key must be one word")
            if key.value in seen:
                raise yaml.YAMLError(f"line {line}: {key.value} stands there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Policy:
    """The policy that a document describes. Raises Invalid that says where it is wrong."""
    if len(text) > LIMIT:
        raise Invalid(f"cannot read the policy: it is longer than {LIMIT} characters")
    try:
        raw = yaml.load(text, _Loader)  # derives from SafeLoader
        return Document.model_validate(raw).policy()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        why = first["msg"].removeprefix("Value error, ")
        raise Invalid(
            f"cannot read the policy: {where}: {why}", "docs/policies-and-plans.md has examples"
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        why = " ".join(str(error).split()) or "it is nested too deeply"
        raise Invalid(f"cannot read the policy: {why}", "write it as YAML") from error


def schema() -> dict[str, Any]:
    """JSON Schema of the documents."""
    found = Document.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def project_of(policy: Policy) -> str:
    """For people: where a policy holds."""
    return "all projects" if policy.project == EVERYWHERE else policy.project
