#!/usr/bin/env bash
# Two jobs of a pipeline. The first plans a change and shows it; the second, perhaps days later and after somebody pressed
# a button, applies the very plan that the first one showed.
#
#   ci_job.sh check WORKSPACE          for a merge request: exit code 0 no changes, 2 changes, else an error
#   ci_job.sh plan WORKSPACE FILE      writes RUN and PLAN_HASH to FILE, for the second job; empty if nothing is to be done
#   ci_job.sh apply FILE
set -euo pipefail

commit=${CI_COMMIT_SHA:-$(date +%s)}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]] or "")' "$1"; }

check() {
  iacq plan "$1" --detailed-exitcode --message "check of $commit"
}

plan() {
  local run id status
  # The key makes a repeated job find the run of the first one. Without a terminal nobody is asked: the plan is left.
  id=$(iacq apply "$1" --detach --key "ci-$commit" --message "commit $commit")
  iacq logs "$id" --phase plan --follow
  run=$(iacq show "$id" --json)
  status=$(field status <<<"$run")
  : >"$2"
  case $status in
    planned_and_finished) echo 'Nothing to do.' ;;
    apply_pending) printf 'RUN=%s\nPLAN_HASH=%s\n' "$id" "$(field plan_hash <<<"$run")" >"$2" ;;
    *)
      echo "Run $id is $status." >&2
      exit 1
      ;;
  esac
}

apply() {
  [[ -s $1 ]] || return 0
  # shellcheck source=/dev/null
  source "$1"
  iacq confirm "$RUN" --plan-hash "$PLAN_HASH" --comment "commit $commit" --follow
}

case ${1:-} in
  check | plan | apply) "$@" ;;
  *) sed -n '5,7s/^# *//p' "$0" >&2; exit 1 ;;
esac
