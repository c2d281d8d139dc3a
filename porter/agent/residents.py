"""Workloads that live here: this host answers for their addresses."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from porter.agent.context import Context
from porter.agent.ledger import SOURCE, TARGET
from porter.domain.errors import PorterError
from porter.domain.handover import Source, Target
from porter.protocol.joining import FoundWorkload

log = logging.getLogger(__name__)


class Residents:
    """Claims the address of each running workload once per life of the agent.

    New containers need it, and so do all after a reboot. Those in a handover are left alone: their
    addresses follow the handover's record.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._claimed: set[str] = set()

    def claim(self, found: Sequence[FoundWorkload]) -> None:
        """Claim for those that are new in `found`. What fails is tried again next time."""
        elsewhere = self._not_here()
        for workload in found:
            new = workload.container not in self._claimed | elsewhere
            if new and workload.state == "running" and workload.address:
                self._claim(workload)
        self._claimed &= {workload.container for workload in found}

    def _claim(self, workload: FoundWorkload) -> None:
        try:
            link = self._context.parts.runtime.link(workload.container)
            if link is not None and link.address:
                self._context.parts.network.claim(link.address, link.mac)
                self._claimed.add(workload.container)
        except PorterError as error:
            log.warning("the address of %s is not claimed yet: %s", workload.name, error)

    def _not_here(self) -> set[str]:
        """Containers of which another host is, or may be, the owner."""
        here = {(SOURCE, Source.RUNNING), (TARGET, Target.RUNNING)}
        records = self._context.ledger.open()
        return {one.container for one in records if (one.role, one.state) not in here}
