#!/usr/bin/env bash
# score.sh [options] <data-dir> <lang-dir> <decode-dir>
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "score.sh: error: bash 4.4 or newer is needed; run it with bash: local/score.sh" >&2 && exit 1 ;; esac
exec "$(dirname "${BASH_SOURCE[0]}")/../../common/score.sh" "$@"
