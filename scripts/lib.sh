# shellcheck shell=bash
# What the scripts beside this file share. It is sourced, not run.
#
# Exit codes are those of the programs: 0 done, 1 ran but something failed, 2 usage, 3 the machine cannot do it.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NAME=${0##*/}

# rustup puts cargo here, and a shell that was not opened anew does not know it yet.
case ":$PATH:" in
*":${CARGO_HOME:-${HOME:-/}/.cargo}/bin:"*) ;;
*) PATH=${CARGO_HOME:-${HOME:-/}/.cargo}/bin:$PATH ;;
esac
# Debian keeps these out of the path of those who are not root, who then should hear "not root", not "no ip".
PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
complain() { printf '%s: %s\n' "$NAME" "$*" >&2; }

# It ran, and the result is bad.
failed() {
  complain "$*"
  exit 1
}

# The command line is wrong.
usage_error() {
  complain "$* (see scripts/$NAME --help)"
  exit 2
}

# This machine, or this user on it, cannot do it.
cannot() {
  complain "$*"
  exit 3
}

have() { command -v "$1" >/dev/null 2>&1; }

require_root() {
  [ "$(id -u)" = 0 ] || cannot "$1 needs root; run it as root or with sudo."
}

# The comment at the head of a script is its help.
print_help() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
  exit 0
}

# Whether version $1 is at least version $2, both as 1.2.3.
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Where cargo puts what it builds.
target_dir() {
  printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}"
}

# Ends a process that the caller started: politely, then, after $2 seconds, not.
stop_process() {
  local pid=$1 seconds=${2:-5} tries
  kill -TERM "$pid" 2>/dev/null || return 0
  for ((tries = seconds * 20; tries > 0; tries--)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

# Whether $1 is a whole number, without leading zeros, from $2 to $3.
is_number_within() {
  [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]] && (($1 >= $2 && $1 <= $3))
}
