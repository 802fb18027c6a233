#!/usr/bin/env bash
# Stage 1 of the TED-LIUM 3 recipe: Kaldi data directories, after a download where no corpus is given.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "data.sh: error: bash 4.4 or newer is needed; run it with bash: local/data.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=
downloads=downloads
audio=
start_padding=0.0
end_padding=0.0
sph2pipe=false
allow_partial=false

help_message="Usage: local/data.sh [options] <destination>
Leaves <destination>/{train,dev,test} (relative to the recipe's folder); dev and test with stm and glm for sclite.
  --corpus DIR           TEDLIUM_release-3, or the folder that holds it; without it the corpus is downloaded
  --downloads DIR        where to, 54 GB and as much unpacked ($downloads)
  --audio DIR            tree of talks converted to WAV or FLAC (SPH is read in place)
  --start-padding S      seconds that train segments begin earlier ($start_padding; Kaldi's recipe has 0.15)
  --end-padding S        seconds that train segments end later ($end_padding; Kaldi's recipe has 0.1)
  --sph2pipe BOOL        let wav.scp call sph2pipe for SPH files, as in Kaldi ($sph2pipe)
  --allow-partial BOOL   leave out, with a count, what is missing or faulty ($allow_partial)"
. ../common/parse_options.sh
if [[ $# -ne 1 ]]; then
  echo "$help_message" >&2
  exit 1
fi
. ./path.sh

if [[ -n $corpus ]]; then source=(--corpus "$corpus"); else source=(--download "$downloads"); fi
exec python -m dld.bin.tedlium3 "${source[@]}" ${audio:+--audio "$audio"} --sph2pipe "$sph2pipe" \
  --start-padding "$start_padding" --end-padding "$end_padding" --allow-partial "$allow_partial" "$1"
