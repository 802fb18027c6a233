#!/usr/bin/env bash
# score.sh [options] <data-dir> <lang-dir> <decode-dir>
exec "$(dirname "${BASH_SOURCE[0]}")/../../common/score.sh" "$@"
