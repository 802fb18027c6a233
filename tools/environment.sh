# shellcheck shell=bash
# Which Python environment is used; to be sourced. Leaves its absolute path in DLD_VENV: the one that DLD_VENV names
# already (a relative path counts from the top of the checkout), else an active one, else tools/venv.

_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null && pwd)
DLD_VENV=${DLD_VENV:-${VIRTUAL_ENV:-${CONDA_PREFIX:-$_top/tools/venv}}}
[[ $DLD_VENV == /* ]] || DLD_VENV=$_top/$DLD_VENV
export DLD_VENV
unset _top
