#!/usr/bin/env bash
# The corpus's language model: prints the path of a 3-gram of the books, pruned; larger ones can be given as --lm FILE.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "lm.sh: error: bash 4.4 or newer is needed; run it with bash: local/lm.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."

downloads=downloads
help_message="Usage: local/lm.sh [--downloads DIR] <data>"
. ../common/parse_options.sh
. ./path.sh

exec python -m dld.bin.prepare librispeech --language-model 3-gram.pruned.1e-7 "$downloads"
