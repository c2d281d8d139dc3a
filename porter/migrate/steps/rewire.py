"""rewire: the workload is the target's from now on, and every host learns its new route."""

from __future__ import annotations

from porter.domain.migration import StepKind
from porter.migrate.step import Context, Done, Outcome


class Rewire:
    kind = StepKind.REWIRE

    def do(self, context: Context) -> Outcome:
        container = str(context.output(StepKind.RESERVE).get("container", ""))
        return Done({"host": context.target.id, "container": container}, rehome=container)

    def undo(self, context: Context) -> Outcome:
        return Done()
