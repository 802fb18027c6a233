#!/usr/bin/env bash
# Builds the guide and the API reference (mkdocs.yml) to build/docs; a warning, such as a broken link, is an error. Options are
# those of `mkdocs build`. `./run.sh docs` installs what this needs and calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
# mkdocs-material's notice about MkDocs 2 does not concern this theme.
export NO_MKDOCS_2_WARNING=1
"$DLD_VENV/bin/python" -m mkdocs build --strict "$@"
echo "Documentation: build/docs/index.html"
