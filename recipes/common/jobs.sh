# shellcheck shell=bash
# Processes that a driver starts, and the signals that end it. To be sourced; `listen` switches it on. A driver that is asked
# to end (SIGTERM, SIGINT, SIGHUP) hands SIGTERM on to what it runs, waits until that has saved its work, and ends with 128
# more than the signal's number.

# The process that runs, and the seconds that it has to end before it is killed.
job=
grace=55

# run COMMAND…: as if COMMAND was called. Bash looks at a signal only when a child in front has ended; `wait` is left at
# once. The job has a process group of its own, so that what it leaves behind can be found.
run() {
  local status=0
  set -m
  "$@" </dev/null &
  set +m
  job=$!
  wait "$job" || status=$?
  job=
  return "$status"
}

# run_alone_in FOLDER COMMAND…: the same, and no other driver is let into the folder while COMMAND, or anything that it
# started, runs, even if this driver is killed.
run_alone_in() {
  run python -m dld.comparison.alone "$(basename "$0")" "$@"
}

listen() {
  trap 'stop HUP 129' HUP
  trap 'stop INT 130' INT
  trap 'stop TERM 143' TERM
  trap end_job EXIT
}

stop() {
  echo "$(basename "$0"): stopped by SIG$1; waiting for what runs; the same command resumes" >&2
  exit "$2"
}

# The job's own process is asked to end; what it leaves in its group, such as the children of a script, is asked after that.
end_job() {
  local deadline=$((SECONDS + grace))
  trap '' HUP INT TERM
  [[ -n $job ]] || return 0
  kill -TERM "$job" 2>/dev/null || true
  while kill -0 -- "-$job" 2>/dev/null && [[ $SECONDS -lt $deadline ]]; do
    kill -0 "$job" 2>/dev/null || kill -TERM -- "-$job" 2>/dev/null || true
    sleep 0.1
  done
  kill -KILL -- "-$job" 2>/dev/null || true
  # They take a moment to go.
  deadline=$((SECONDS + 2))
  while kill -0 -- "-$job" 2>/dev/null && [[ $SECONDS -lt $deadline ]]; do sleep 0.1; done
}
