"""`[monitoring]`: where numbers for Prometheus are published; in `site.toml` and `server.toml`."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from shared.table import Table


class MonitoringTable(Table):
    """`[monitoring]`: numbers for Prometheus about the service, never about patients; none without a key."""

    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Answer Prometheus at this port of this machine's loopback.", examples=[9464]
    )
    textfile: Path | None = Field(
        None,
        description="Write them into this folder of node_exporter's textfile collector, every 15 seconds.",
        examples=["/var/lib/node_exporter"],
    )

    def based_on(self, folder: Path) -> Self:
        """Return the table with a path that counts from a folder."""
        return self.model_copy(update={"textfile": self.textfile and folder / self.textfile})
