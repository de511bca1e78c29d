#!/bin/sh
# Compare what nodeward says of this node with file $1: one line a check, "status check".
set -eu

nodeward scan | awk -F '\t' '
  NR == FNR { if (NF) wanted[$2] = $1; next }
  $3 in wanted { found[$3] = $1; why[$3] = $4 }
  END {
    for (check in wanted)
      if (found[check] != wanted[check]) {
        printf "%s: wanted %s, found %s: %s\n", check, wanted[check], found[check], why[check]
        bad = 1
      }
    exit bad
  }' FS=' ' "$1" FS='\t' -
