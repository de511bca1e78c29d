"""Names in the run directory, apart from what writes them, so that the resident can know them."""

STATUS_FILE = "agent.json"
METRICS_FILE = "nodeward.prom"
