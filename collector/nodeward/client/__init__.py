"""Asks a collector."""

from nodeward.client.client import Client, ClientError, Where

__all__ = ["Client", "ClientError", "Where"]
