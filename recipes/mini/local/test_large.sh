#!/usr/bin/env bash
# A larger test set for comparisons: the voices of the recipe's own say three times as much.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "test_large.sh: error: bash 4.4 or newer is needed; run it with bash: local/test_large.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

scale=${COMPARE_SCALE:-3}
help_message="Usage: local/test_large.sh [options] <data>
Leaves <data>/test_large (relative to the recipe's folder), and the corpus that it is from in <data>_large.
  --scale X    factor on the number of utterances per speaker ($scale)"
. ../common/parse_options.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi

local/data.sh --scale "$scale" "${1}_large"
rm -rf "${1:?}/test_large" "$1/.test_large"
# Whole or not there.
cp -r "${1}_large/test" "$1/.test_large"
mv "$1/.test_large" "$1/test_large"
