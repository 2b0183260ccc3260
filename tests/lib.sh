# What tests/run and tests/gate share: stages, in order or by name; commands that end in time.
# To be sourced by a script that lists its `stages` and calls `main "$@"` at its end.
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR RUST_BACKTRACE=1

main() {
  local stage started
  printf 'stages: %s\n' "${stages[*]}"
  for stage in "$@"; do
    declare -F "stage-$stage" >/dev/null || die "there is no stage '$stage'"
  done
  for stage in "${@:-${stages[@]}}"; do
    printf '\n== %s\n' "$stage"
    started=$SECONDS
    "stage-$stage"
    printf '== %s: %d s\n' "$stage" $((SECONDS - started))
  done
  if (($# == 0)); then
    printf '\nall %d stages passed in %d s\n' "${#stages[@]}" "$SECONDS"
  else
    printf '\npassed in %d s: %s\n' "$SECONDS" "$*"
  fi
}

# Installs what is missing of these: command:package.
install-tools() {
  local tool missing=()
  for tool in "$@"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
  done
  ((${#missing[@]})) || return 0
  install-packages "${missing[@]}"
  for tool in "$@"; do
    command -v "${tool%%:*}" >/dev/null || die "'${tool%%:*}' is missing"
  done
}

install-packages() {
  local root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "missing, and neither root nor sudo to install: $*"
    root=(sudo)
  fi
  retried "${root[@]}" apt-get update -qq
  retried "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# Runs a command that must end in time. In the background, so that an interrupt ends it at once.
bounded() {
  timeout --kill-after=10s "$@" &
  running+=("$!")
  wait "$!"
  unset 'running[-1]'
}

# Registries have hiccups.
retried() {
  local try
  for try in 1 2 3; do
    if timeout --kill-after=10s 5m "$@"; then return 0; fi
    printf 'attempt %d failed: %s\n' "$try" "$*" >&2
    sleep 5
  done
  die "given up: $*"
}

die() {
  printf '%s: %s\n' "$program" "$*" >&2
  exit 1
}

finish() {
  local status=$? process
  trap - EXIT
  for process in "${running[@]}"; do
    kill -TERM "$process" 2>/dev/null || continue
    for _ in {1..50}; do
      kill -0 "$process" 2>/dev/null || continue 2
      sleep 0.1
    done
    kill -KILL "$process" 2>/dev/null || true
  done
  rm -rf "$scratch"
  ((status == 0)) || printf '\n%s: FAILED\n' "$program" >&2
  exit "$status"
}

program=tests/${0##*/}
running=()
scratch=$(mktemp -d)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
