"""Heartbeat of flow runs to Prefect."""

HEARTBEAT_SECONDS = 30
