#!/usr/bin/env bash
# Stage 1 of the mini recipe: synthesise the corpus and write its Kaldi data directories.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "data.sh: error: bash 4.4 or newer is needed; run it with bash: local/data.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

seed=1
scale=1
snr_low=20
snr_high=30
noises="babble hum pink shaped white"
flite=false

help_message="Usage: local/data.sh [options] <destination>
Synthesises connected numbers in noise; leaves <destination>/{train,dev,test,audio} (relative to the recipe's folder).
  --seed N          of all that is drawn ($seed)
  --scale X         factor on the number of utterances per speaker ($scale)
  --snr-low DB      lowest signal-to-noise ratio ($snr_low)
  --snr-high DB     highest signal-to-noise ratio ($snr_high)
  --noises 'A B'    kinds of noise; an empty string for clean speech ($noises)
  --flite BOOL      add the voices of an installed flite to train ($flite)"
. ../common/parse_options.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi
. ./path.sh

exec python -m dld.bin.mini_corpus --seed "$seed" --scale "$scale" --snr-low "$snr_low" --snr-high "$snr_high" \
  --noises "$noises" --flite "$flite" "$1"
