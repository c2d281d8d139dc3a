"""When Google deleted a machine: its operations tell, for about two weeks."""

from __future__ import annotations

from porter.providers.gcp.machines import split_identity
from porter.providers.gcp.operations import failed, finished
from porter.providers.gcp.session import Session


class GcpLifetimes:
    def __init__(self, session: Session) -> None:
        self._session = session

    def ended(self, key: str, instance: str) -> str:
        """The end of the last operation that deleted it."""
        from google.cloud import compute_v1 as c

        zone, name = split_identity(instance)
        request = c.ListZoneOperationsRequest(
            project=self._session.settings.project,
            zone=zone,
            filter=f'targetLink eq ".*/zones/{zone}/instances/{name}"',
        )
        doing = f"find out when the machine of {key} ended"
        found = self._session.all(doing, "ZoneOperationsClient", "list", request)
        ends = [
            str(one.end_time)
            for one in found
            if one.operation_type == "delete" and finished(one) and not failed(one)
        ]
        return max(ends, default="")
