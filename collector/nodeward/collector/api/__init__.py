"""The routes: `agents` for those who report, `people` for those who ask, `operate` for probes."""
