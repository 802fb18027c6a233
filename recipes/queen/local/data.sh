#!/usr/bin/env bash
# Stage 1 of the queen recipe: Kaldi data directories from the game's file, which is fetched where none is given.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "data.sh: error: bash 4.4 or newer is needed; run it with bash: local/data.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=
extra_data=
librispeech=

help_message="Usage: local/data.sh [options] <destination>
Leaves <destination>/{train,dev,test,audio} (relative to the recipe's folder).
  --corpus FILE          a local queen.1c, or Debian's package flight-of-the-amazon-queen (default: fetch the package)
  --librispeech DIR      the folder LibriSpeech, whole or in part: leaves <destination>/{test_other,train_librispeech} too
  --extra-data 'A B'     Kaldi data directories that are joined with train to <destination>/train_extra"
. ../common/parse_options.sh
. ../common/words.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi
. ./path.sh

python -m dld.bin.queen ${corpus:+--corpus "$corpus"} "$1"
if [[ -n $librispeech ]]; then
  # Nothing here is done with a dev set; a part of the corpus may have none.
  held_out=2
  if compgen -G "$librispeech/dev-*" || compgen -G "$librispeech/LibriSpeech/dev-*"; then held_out=0; fi >/dev/null
  python -m dld.bin.librispeech --corpus "$librispeech" --train-set 100 --held-out "$held_out" --allow-partial true \
    "$1/librispeech"
  for set in test-other:test_other train-clean-100:train_librispeech; do
    [[ -d $1/librispeech/${set%:*} ]] || continue
    rm -rf "${1:?}/${set#*:}" "$1/.part"
    # Whole or not there.
    cp -r "$1/librispeech/${set%:*}" "$1/.part"
    # Queen's text is in lower case.
    awk '{ key = $1; $1 = ""; print key tolower($0) }' "$1/librispeech/${set%:*}/text" >"$1/.part/text"
    mv "$1/.part" "$1/${set#*:}"
  done
fi
if [[ -n $extra_data ]]; then
  directories=()
  option_words directories --extra-data "$extra_data"
  python -m dld.bin.data combine "$1/train_extra" "$1/train" "${directories[@]}"
fi
