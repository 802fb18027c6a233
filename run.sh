#!/usr/bin/env bash
# Sets up the environment if need be, then runs a recipe or the tests, or builds the documentation.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/tools/environment.sh ]] || _self=$(readlink -f "$_self")
# Where relative paths start for a recipe of the user's own data.
_from=$PWD
cd "$(dirname "$_self")"

fail() {
  echo "run.sh: error: $1" >&2
  exit 1
}

recipes() {
  local script
  for script in recipes/*/run.sh; do
    [[ -f $script ]] && basename "$(dirname "$script")"
  done
}

usage() {
  cat <<END
Usage: ./run.sh [--setup-only true] [RECIPE|test|docs] [options]

  ./run.sh                      set up, then run the mini recipe: corpus, teacher, LD and DLD students, scores, report
  ./run.sh mini --quick true    the same with everything smaller: a first look in about a minute
  ./run.sh RECIPE [options]     set up, then run recipes/RECIPE/run.sh; \`./run.sh RECIPE --help\` lists its options
  ./run.sh test [options]       set up, then run the everyday tests; options are pytest's
  ./run.sh test -m slow         the slow ones instead: kills at every step, every damaged file, every hostile file
  ./run.sh docs                 build the guide and the API reference, and check their links
  ./run.sh --setup-only true    set up and stop

Recipes: $(recipes | tr '\n' ' ')

Setting up makes a Python environment and installs the pinned dependencies in it (tools/requirements.txt); it
needs Python 3.10 or newer, bash and a network, no root, and is done once. Variables of the environment:
  DLD_VENV   the environment to use or make (default: an active one, else tools/venv); a torch in it is kept
  PYTHON     the interpreter that a new environment is made from (default: python3)
END
}

setup_only=false
while [[ ${1:-} == --setup-only* || ${1:-} == --help || ${1:-} == -h ]]; do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --setup-only=*) setup_only=${1#*=} ;;
    --setup-only) setup_only=${2:-} && shift "$(($# > 1))" ;;
    *) fail "unknown option $1; see ./run.sh --help" ;;
  esac
  [[ $setup_only == true || $setup_only == false ]] || fail "--setup-only takes true or false, not '$setup_only'"
  shift
done

target=mini
if [[ ${1:-} && $1 != -* ]]; then
  target=$1
  shift
fi
[[ $setup_only == true || $target == test || $target == docs || -f recipes/$target/run.sh ]] ||
  fail "no recipe $target; there are: $(recipes | tr '\n' ' ')(and \`./run.sh test\`, \`./run.sh docs\`)"

# What the target needs in addition to the package; help on a recipe needs no environment.
case $target in
  test) tools/install.sh test ;;
  docs) tools/install.sh dev ;;
  *) [[ ${1:-} == --help ]] || tools/install.sh ;;
esac
[[ $setup_only == false ]] || exit 0

. tools/environment.sh
if [[ $target == test ]]; then
  # One process for each core; a test's own processes share it.
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  exec "$DLD_VENV/bin/python" -m pytest --numprocesses auto --dist loadfile "$@"
fi
if [[ $target == docs ]]; then
  exec tools/build_docs.sh "$@"
fi
export DLD_CALLED_FROM=$_from DLD_CALLED_AS="./run.sh $target"
exec "recipes/$target/run.sh" "$@"
