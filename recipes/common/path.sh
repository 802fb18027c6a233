# shellcheck shell=bash
# What a recipe's scripts run with, to be sourced: the Python environment that the top-level run.sh made, the package,
# and byte order for sorting, which Kaldi directories need.

_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." >/dev/null && pwd)
. "$_root/tools/environment.sh"
if [[ ! -x $DLD_VENV/bin/python ]]; then
  echo "path.sh: error: no Python environment at $DLD_VENV; run \`./run.sh --setup-only true\` in $_root first" >&2
  exit 1
fi
export PATH=$DLD_VENV/bin:$PATH
export PYTHONPATH=$_root${PYTHONPATH:+:$PYTHONPATH}
export LC_ALL=C
# Under LC_ALL=C, Python's own files and messages stay UTF-8.
export PYTHONUTF8=1
unset _root
