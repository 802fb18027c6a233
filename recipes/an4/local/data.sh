#!/usr/bin/env bash
# Stage 1: Kaldi data directories in a folder, which is relative to the recipe's. See local/data.sh --help for the options.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "data.sh: error: bash 4.4 or newer is needed; run it with bash: local/data.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."
. ./path.sh
exec python -m dld.bin.prepare an4 "$@"
