# shellcheck shell=bash
# Processes that a driver starts, and the signals that end it; and the data folder, which one driver writes at a time. To be
# sourced; `listen` switches it on. A driver that is asked to end (SIGTERM, SIGINT, SIGHUP) hands SIGTERM on to what it runs,
# waits until that has saved its work, and ends with 128 more than the signal's number.

background=()
# Seconds that processes have to end before they are killed.
grace=50

# Bash looks at a signal only when a child in front has ended; `wait` is left at once. Hence everything that takes long is
# started by one of the next two. Each job has a process group of its own, so that what it leaves behind can be found.

# run COMMAND…: as if COMMAND was called. A function that is run calls `run` in turn for what takes long.
run() {
  local status=0
  start_job "$@"
  wait "${background[-1]}" || status=$?
  unset "background[-1]"
  return "$status"
}

# in_background LOG COMMAND…: does not wait; its process is the last of `background`.
in_background() {
  local log=$1
  shift
  start_job "$@" >"$log" 2>&1
}

start_job() {
  set -m
  if [[ $(type -t "$1") == function ]]; then
    { listen; "$@"; } </dev/null &
  else
    # The lock of the data folder ends with this process, whatever its children do.
    { if [[ -n $_lock ]]; then exec {_lock}>&-; fi && exec "$@"; } </dev/null &
  fi
  set +m
  background+=("$!")
}

# listen: in each shell that starts jobs.
listen() {
  background=()
  if [[ $BASH_SUBSHELL -gt 0 ]]; then
    if [[ -n $_lock ]]; then exec {_lock}>&- && _lock=; fi
    # The shell outside waits a little longer.
    grace=$((grace - 2))
  fi
  trap 'stop HUP 129' HUP
  trap 'stop INT 130' INT
  trap 'stop TERM 143' TERM
  trap 'end_jobs; free_data' EXIT
}

stop() {
  if [[ $BASH_SUBSHELL -eq 0 ]]; then
    echo "$(basename "$0"): stopped by SIG$1; waiting for what runs; the same command resumes" >&2
  fi
  exit "$2"
}

# living_jobs: leaves in `left` the jobs of which anything still runs.
living_jobs() {
  local job
  left=()
  for job in "${background[@]}"; do
    if kill -0 -- "-$job" 2>/dev/null; then left+=("$job"); fi
  done
  [[ ${#left[@]} -gt 0 ]]
}

# A job's own process is asked to end; what it leaves in its group, such as the children of a script, is asked after that.
end_jobs() {
  local job left deadline=$((SECONDS + grace))
  trap '' HUP INT TERM
  for job in "${background[@]}"; do kill -TERM "$job" 2>/dev/null || true; done
  while living_jobs && [[ $SECONDS -lt $deadline ]]; do
    for job in "${left[@]}"; do
      kill -0 "$job" 2>/dev/null || kill -TERM -- "-$job" 2>/dev/null || true
    done
    sleep 0.1
  done
  for job in "${left[@]}"; do kill -KILL -- "-$job" 2>/dev/null || true; done
  # They take a moment to go.
  deadline=$((SECONDS + 2))
  while living_jobs && [[ $SECONDS -lt $deadline ]]; do sleep 0.1; done
}

_lock=
_held=

# have_data FOLDER: makes the folder, and keeps other drivers from writing in it until free_data or the end of this process.
have_data() {
  local file=$1/.in_use other
  [[ ! -L $file ]] || fail "$file is a link; remove it"
  { mkdir -p "$1" && : >>"$file"; } 2>/dev/null || fail "cannot write in the data folder $1"
  if command -v flock >/dev/null; then
    # Whoever had it last may have removed the file in between: then it is another one by now.
    until exec {_lock}<>"$file" && flock -n "$_lock" && [[ $file -ef /dev/fd/$_lock ]]; do
      [[ ! $file -ef /dev/fd/$_lock ]] || data_is_taken "$1" "$(<"$file")"
      exec {_lock}>&-
      mkdir -p "$1"
    done
  else
    other=$(<"$file")
    if [[ $other =~ ^process\ ([0-9]+)\ on\ (.*)$ ]] &&
      { [[ ${BASH_REMATCH[2]} != "$HOSTNAME" ]] || kill -0 "${BASH_REMATCH[1]}" 2>/dev/null; }; then
      data_is_taken "$1" "$other"
    fi
  fi
  echo "process $$ on $HOSTNAME" >"$file"
  _held=$1
}

data_is_taken() {
  fail "$1: ${2:-another process} is at work in it; wait until it ends, stop it, or take another folder (--data)"
}

free_data() {
  [[ -n $_held && $BASHPID == "$$" ]] || return 0
  rm -f "$_held/.in_use"
  rmdir "$_held" 2>/dev/null || true
  if [[ -n $_lock ]]; then exec {_lock}>&-; fi
  _lock='' _held=
}
