#!/usr/bin/env bash
# Trains, decodes and scores every run of a recipe's comparison, and writes its reports. Goes on where it stopped.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "compare.sh: error: bash 4.4 or newer is needed; run it with bash: tools/compare.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<END
Usage: tools/compare.sh RECIPE [--list NAME] [--nj N] [--exp DIR] [--runs 'A B'] [options of the recipe's run.sh]

Makes the runs that recipes/RECIPE/compare.sh lists, the static teacher first, N at a time (1), and then its reports. What is
done is not done again: a run that was broken off goes on from its last checkpoint, one that is decoded and scored is left
as it is. Each run's words are in DIR/log/compare_RUN.log.
  --list NAME    take recipes/RECIPE/compare_NAME.sh instead, such as mini's ablations
  --nj N         runs at a time; each takes one thread (1)
  --exp DIR      folder of the runs, relative to the recipe (as recipes/RECIPE/compare.sh has it)
  --runs 'A B'   only these, and no report
END
}

fail() {
  echo "compare.sh: error: $1" >&2
  exit 1
}

recipe=${1:-}
if [[ -z $recipe || $recipe == --help || $recipe == -h ]]; then usage && exit 0; fi
shift
list=compare.sh
if [[ ${1:-} == --list ]]; then list=compare_${2:-}.sh && shift "$(($# > 1 ? 2 : 1))"; fi
[[ -f recipes/$recipe/$list ]] || fail "recipes/$recipe has no $list; see tools/compare.sh --help"
cd "recipes/$recipe"

nj=1
data=data
only=
train_args=
options=()
# shellcheck source=recipes/mini/compare.sh
. "./$list"
while [[ $# -gt 0 ]]; do
  [[ $1 == --* && $# -gt 1 ]] || fail "unexpected argument '$1'; options have the form --name value"
  case $1 in
    --nj) nj=$2 ;;
    --exp) exp=$2 ;;
    --data) data=$2 && options+=("$1" "$2") ;;
    --runs) only=$2 ;;
    --train-args) train_args+=" $2" ;;
    *) options+=("$1" "$2") ;;
  esac
  shift 2
done
options+=(--train-args "$train_args")
[[ $nj =~ ^[1-9][0-9]*$ ]] || fail "--nj takes a number, not '$nj'"
# shellcheck disable=SC2154  # the recipe's compare.sh sets exp and runs
: "$exp" "$runs"
# shellcheck source=recipes/mini/path.sh
. ./path.sh
# Standard output itself, which runs at the same time do not have.
exec 3>&1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# shellcheck source=recipes/common/stages.sh
. ../common/stages.sh
chosen=()
option_names chosen --runs "${only:-$runs}"
mkdir -p "$exp/log"
# Each run.sh ends what it runs within 50 s.
# shellcheck disable=SC2034  # jobs.sh reads it
grace=56
listen

# What the run's decodes stand for must not be newer than they are.
is_done() {
  local stamp=$exp/$1/.compared file
  [[ -e $stamp ]] || return 1
  for file in "$exp/$1/model.json" "$exp/$1/gate_table.json"; do
    if [[ $file -nt $stamp ]]; then return 1; fi
  done
}

make_run() {
  if is_done "$1"; then return; fi
  echo "== $1 ($(date +%T))" >&3
  run ./run.sh --exp "$exp" --systems "$1" --stage 4 --stop-stage 9 "${options[@]}" >"$exp/log/compare_$1.log" 2>&1 ||
    { tail -n 3 "$exp/log/compare_$1.log" >&2 && return 1; }
  touch "$exp/$1/.compared"
}

if [[ ! -e $data/.compared ]]; then
  run ./run.sh --exp "$exp" --stop-stage 1 "${options[@]}"
  if declare -F prepare >/dev/null; then
    have_data "$data"
    run prepare
    free_data
  fi
  run ./run.sh --exp "$exp" --stage 2 --stop-stage 3 "${options[@]}"
  touch "$data/.compared"
fi
# Students need the teacher.
others=()
for name in "${chosen[@]}"; do
  if [[ $name == static ]]; then make_run static; else others+=("$name"); fi
done
for_each make_run "${others[@]}"
if [[ -z $only ]]; then run reports; fi
