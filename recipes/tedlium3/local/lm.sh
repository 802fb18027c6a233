#!/usr/bin/env bash
# The corpus's language model: prints the path of a pruned 4-gram of its texts, which takes lmplz (KenLM) or much memory and time.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "lm.sh: error: bash 4.4 or newer is needed; run it with bash: local/lm.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=downloads
help_message="Usage: local/lm.sh [--corpus DIR] <data>"
. ../common/parse_options.sh
. ./path.sh

file=$1/lm/4gram.arpa.gz
mapfile -t texts < <(compgen -G "$corpus/LM/*.gz" || compgen -G "$corpus/TEDLIUM_release-3/LM/*.gz")
if [[ ${#texts[@]} -eq 0 ]]; then
  echo "lm.sh: error: no LM/*.gz in $corpus; give the corpus by --corpus" >&2
  exit 1
fi
[[ -e $file ]] || python -m dld.bin.lm --text "$1/train/text" --sentences "${texts[@]}" --lowercase true --order 4 \
  --prune 0,0,1,1 --output "$file" --dev "$1/dev/text" >&2
echo "$file"
