"""Asks a collector, for the verbs get, query, diff and watch. Imports only the model."""
