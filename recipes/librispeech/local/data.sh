#!/usr/bin/env bash
# Stage 1 of the LibriSpeech recipe: Kaldi data directories, after a download where no corpus is given.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "data.sh: error: bash 4.4 or newer is needed; run it with bash: local/data.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=
downloads=downloads
train_set=960
held_out=0
allow_partial=false

help_message="Usage: local/data.sh [options] <destination>
Leaves <destination>/{train,dev,dev-clean,dev-other,test-clean,test-other} (relative to the recipe's folder) and one
directory for each split of train; dev is dev-clean and dev-other together.
  --corpus DIR           LibriSpeech, or the folder that holds it; without it the corpus is downloaded
  --downloads DIR        where to, 60 GB (8 GB for 100 h) and as much unpacked ($downloads)
  --train-set H          100, 460 or 960 hours ($train_set)
  --held-out N           make dev of N training readers, where there are no dev splits ($held_out)
  --allow-partial BOOL   leave out, with a count, what is missing or faulty ($allow_partial)"
. ../common/parse_options.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi
. ./path.sh

if [[ -n $corpus ]]; then source=(--corpus "$corpus"); else source=(--download "$downloads"); fi
exec python -m dld.bin.librispeech "${source[@]}" --train-set "$train_set" --held-out "$held_out" \
  --allow-partial "$allow_partial" "$1"
