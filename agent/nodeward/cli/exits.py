"""Exit codes (contracts, section 2). When several apply: 2 or 70 first, then 1, then 3."""

OK = 0
FAILS = 1
USAGE = 2
UNKNOWN = 3
COLLECTOR = 4
DEFECT = 70
