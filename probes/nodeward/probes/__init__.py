"""Impure readers: each asks a Host a few questions and returns exactly one fact."""
