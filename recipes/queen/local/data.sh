#!/usr/bin/env bash
# Stage 1 of the queen recipe: Kaldi data directories from the game's file, which is fetched where none is given.
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=
extra_data=

help_message="Usage: local/data.sh [options] <destination>
Leaves <destination>/{train,dev,test,audio} (relative to the recipe's folder).
  --corpus FILE          a local queen.1c, or Debian's package flight-of-the-amazon-queen (default: fetch the package)
  --extra-data 'A B'     Kaldi data directories that are joined with train to <destination>/train_extra"
. ../common/parse_options.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi
. ./path.sh

python -m dld.bin.queen ${corpus:+--corpus "$corpus"} "$1"
if [[ -n $extra_data ]]; then
  # shellcheck disable=SC2086  # extra_data is a list of words
  python -m dld.bin.data combine "$1/train_extra" "$1/train" $extra_data
fi
