# shellcheck shell=bash
# To be sourced from the recipe's folder.
. "$(dirname "${BASH_SOURCE[0]}")/../common/path.sh"
