# shellcheck shell=bash
# What script/setup and its callers share. Source it from the top of the checkout.

VENV=${NODEWARD_VENV:-.venv}

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

# Names in package lists: the first word of each line that is no comment.
names_in() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@"; }

missing_packages() {
  names_in "$@" | while read -r name; do
    dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -q '^installed' || echo "$name"
  done
}

# Installs what is missing from the given lists; without root or sudo says the one line to run.
install_packages() {
  command -v dpkg-query >/dev/null || {
    say "not a Debian or Ubuntu: going on with the programs that are here"
    return 0
  }
  local missing as_root=()
  missing=$(missing_packages "$@" | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null && ! { [ -t 0 ] && command -v sudo >/dev/null; }; then
      die "packages are missing; run this line as root, then try again:
  apt-get update && apt-get install -y --no-install-recommends $missing"
    fi
    as_root=(sudo)
  fi
  say "installing $missing"
  # An unrelated source that does not answer must not stop us: what counts is the installation.
  try 3 "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
    -o Acquire::Retries=3 update >&2 || say "apt-get update failed; trying with what it knew"
  # shellcheck disable=SC2086 # the list is words
  try 3 "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
    install $missing </dev/null >/dev/null
}

# try N COMMAND...: up to N times, a little longer apart each time.
try() {
  local times=$1 turn
  shift
  for ((turn = 1; turn <= times; turn++)); do
    "$@" && return 0
    [ "$turn" = "$times" ] || sleep $((turn * 5))
  done
  return 1
}

# The first Python that is new enough and can make a virtual environment with headers to build for.
find_python() {
  local python
  for python in "${NODEWARD_PYTHON:-python3}" /usr/bin/python3 python3.13 python3.12 python3.11; do
    "$python" - 2>/dev/null <<'PY' && command -v "$python" && return 0
import ensurepip, os, sys, sysconfig, venv
assert sys.version_info >= (3, 11)
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
PY
  done
  die "no Python 3.11 or newer with venv and headers (Debian: python3-venv python3-dev)"
}

# make_venv EXTRAS: .venv with this checkout installed in place. Installed again only when
# pyproject.toml, the Python or the place changed. What has everything also has less.
EVERYTHING=agent,collector,postgres,archive,notify,dev

make_venv() {
  local have
  if [ -x "$VENV/bin/python" ]; then
    for have in "$1" "$EVERYTHING"; do
      [ "$(cat "$VENV/stamp-$have" 2>/dev/null)" != "$(venv_stamp)" ] || return 0
    done
  else
    rm -rf "$VENV"
    "$(find_python)" -m venv "$VENV"
  fi
  say "installing the Python packages into $VENV"
  try 3 "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --no-input \
    --retries 5 -e ".[$1]" </dev/null >&2
  venv_stamp >"$VENV/stamp-$1"
}

venv_stamp() {
  { "$VENV/bin/python" --version && cat pyproject.toml && pwd; } 2>&1 | sha256sum
}

# debian_tree SUITE TARGET [OPTION...]: a minimal root file system of this release of Debian or
# Ubuntu, for mmdebstrap's options. DEBIAN_MIRROR names another place than Debian's own.
debian_tree() {
  local suite=$1 target=$2
  shift 2
  case $suite in
    jammy | noble) set -- --components=main,universe --keyring="$(ubuntu_keyring)" "$@" "$suite" "$target" ;;
    *) set -- "$@" "$suite" "$target" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} ;;
  esac
  mmdebstrap --mode=root --variant=minbase --include=apt \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "5"' "$@"
}

# Debian 12 does not have Ubuntu's keys. They come from Ubuntu, and must be those that are known:
# 790BC7277767219C42C86F933B4FE6ACC0B21F32, F6ECB3762474EDA9D21B7022871920D1991BC93C.
ubuntu_keyring() {
  local keys=$PWD/.cache/ubuntu-archive-keyring.gpg tree
  if [ ! -f "$keys" ]; then
    tree=$(mktemp -d)
    # shellcheck disable=SC2016 # mmdebstrap expands it
    mmdebstrap --quiet --mode=root --variant=extract --include=ubuntu-keyring --setup-hook='
      sed -i "s/^deb /deb [trusted=yes] /" "$1"/etc/apt/sources.list' noble "$tree" >&2
    cp "$tree/usr/share/keyrings/ubuntu-archive-keyring.gpg" "$keys.new"
    rm -rf "$tree"
    echo "80a36b0a6de2f69f49d2df75ef473ccde121e9e190b9ea01d20a4f63778d5c31  $keys.new" |
      sha256sum --check --quiet >&2
    mv "$keys.new" "$keys"
  fi
  echo "$keys"
}
