"""The application inside a replica of Ray Serve.

Enters: settings, pickled, and what the replica knows of its Ray. Leaves: the application. What counts requests decides when it is imported
whether several processes count together, so nothing of that is imported before the replica calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.api.settings import Settings

if TYPE_CHECKING:
    from workbench.api.server import Cluster


@dataclass(frozen=True)
class Replica:
    """Makes the application of a replica."""

    settings: Settings

    def __call__(self, cluster: Cluster) -> Any:
        """Return it."""
        from workbench.api.app import create_app
        from workbench.api.logs import log_to_pipe

        log_to_pipe()
        # Requests are spread evenly: each replica counts its share of what a key may ask.
        share = self.settings.replicas
        rate, burst = self.settings.rate_per_second / share, max(1, self.settings.rate_burst // share)
        return create_app(replace(self.settings, rate_per_second=rate, rate_burst=burst), cluster)
