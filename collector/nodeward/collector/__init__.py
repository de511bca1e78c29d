"""The centre: ingests reports, stores them, answers questions."""
