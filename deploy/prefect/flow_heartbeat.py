"""How often a flow run tells Prefect that it lives."""

HEARTBEAT_SECONDS = 30
