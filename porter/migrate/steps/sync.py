"""sync: copy rounds while the workload runs. A cold move has none."""

from __future__ import annotations

from porter.domain.migration import StepKind
from porter.migrate.step import Context, Done, Outcome


class Sync:
    kind = StepKind.SYNC

    def do(self, context: Context) -> Outcome:
        return Done({"skipped": True, "rounds": []})

    def undo(self, context: Context) -> Outcome:
        return Done()
