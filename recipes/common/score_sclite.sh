#!/usr/bin/env bash
# Score a decode directory with NIST sclite: score_sclite.sh [options of score.sh] <data-dir> <lang-dir> <decode-dir>
exec "$(dirname "${BASH_SOURCE[0]}")/score.sh" --sclite true "$@"
