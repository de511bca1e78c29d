#!/bin/sh
# Install the nodeward package that lies in folder $1; again when it is another one.
set -eu

deb=$(find "$1" -name 'nodeward_*.deb' | sort | tail -n 1)
[ -n "$deb" ] || { echo "no package in $1: run script/deb first" >&2; exit 1; }

mark=/var/lib/nodeward-provisioned.sha256
if [ "$(cat "$mark" 2>/dev/null)" != "$(sha256sum <"$deb")" ]; then
  # Without its dependencies dpkg fails and apt fetches them; with them no network is needed.
  dpkg -i "$deb" 2>/dev/null || {
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$deb"
  }
  sha256sum <"$deb" >"$mark"
fi
