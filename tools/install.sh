#!/usr/bin/env bash
# Makes the Python environment (see environment.sh) if there is none and installs the pinned dependencies and this package
# in it. Does nothing if that has been done. Needs no root and installs nothing outside the environment.
#   tools/install.sh         what recipes and the tests need
#   tools/install.sh test    and, as far as they can be installed, the packages without which tests are skipped (KenLM is compiled)
#   tools/install.sh dev     and what checks and documentation need
# PYTHON names the interpreter that a new environment is made from. Everything pip says is in tools/install.log.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "install.sh: error: bash 4.4 or newer is needed; run it with bash: tools/install.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
log=tools/install.log
python=$DLD_VENV/bin/python
stamp=$DLD_VENV/.dld-installed

fail() {
  echo "install.sh: error: $1" >&2
  exit 1
}

# What the environment was made from: the checkout (the package is installed in place), the pins, the interpreter.
fingerprint() {
  pwd
  "$python" -c 'import hashlib, pathlib, sys
print(sys.version)
for name in sys.argv[1:]: print(hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest())' \
    setup.py dld/__init__.py tools/requirements.txt tools/install.sh tools/fix_torchaudio.py
}

# Whether the interpreter $1 has torch in a version that SpeechBrain works with; prints that version.
torch_of() {
  "$1" -c 'import re, torch
assert tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) >= (2, 8)
print(torch.__version__)' 2>/dev/null
}

# Runs pip, shows what it fetches, keeps all it says in the log.
try_install() {
  "$python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1 | tee -a "$log" |
    awk '/^ *(Collecting|Downloading|Building|Installing) / { sub(/ \(from .*/, ""); sub(/^ */, "    "); print substr($0, 1, 110); fflush() }'
}

install() {
  try_install "$@" ||
    { tail -n 15 "$log" >&2 && fail "pip could not install $* (its last words are above, all of them in $log); is the network up?"; }
}

pins() {
  grep -E "^($1)==" tools/requirements.txt
}

# The versions that are installed of the packages that are named.
kept() {
  "$python" -c 'from importlib.metadata import version; import sys
print(*(f"{name}=={version(name)}" for name in sys.argv[1:]), sep="\n")' "$@" 2>>"$log"
}

make_environment() {
  if [[ ! -x $python ]]; then
    base=
    candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
    if [[ ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
      if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        base=$candidate
        break
      fi
    done
    [[ $base ]] || fail "Python 3.10 or newer is needed, ${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>&1 || true); install one or name it by PYTHON="
    "$base" -c 'import ensurepip, venv' 2>>"$log" ||
      fail "$base cannot make environments; install its venv module (Debian, Ubuntu: python3-venv), or activate an environment first"
    options=()
    if version=$(torch_of "$base"); then
      echo "[1/5] Environment $DLD_VENV from $base, sharing its torch $version"
      options=(--system-site-packages)
    else
      echo "[1/5] Environment $DLD_VENV from $base"
    fi
    "$base" -m venv "${options[@]}" "$DLD_VENV" >>"$log" 2>&1 || fail "cannot make $DLD_VENV: $(tail -n 1 "$log")"
  else
    echo "[1/5] Environment $DLD_VENV is there"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      fail "$DLD_VENV has $("$python" -V), 3.10 or newer is needed; name another environment by DLD_VENV"
  fi
  # An environment whose making was interrupted has an interpreter but no pip.
  "$python" -m pip --version >>"$log" 2>&1 || "$python" -m ensurepip --upgrade >>"$log" 2>&1 ||
    fail "$DLD_VENV has no pip and cannot get it; remove that folder and start again"
}

install_dependencies() {
  if version=$(torch_of "$python"); then
    echo "[2/5] torch $version is there and is kept"
  else
    echo "[2/5] torch"
    install "$(pins torch)"
  fi
  # From here on nothing may replace it, nor a torchaudio that is there.
  kept torch >"$constraints"
  if kept torchaudio >>"$constraints"; then
    echo "[3/5] $(tail -n 1 "$constraints") is there and is kept"
  else
    echo "[3/5] torchaudio"
    install --constraint "$constraints" "$(pins torchaudio)"
  fi

  echo "[4/5] The other dependencies"
  grep -vE '^(torch|torchaudio)==' tools/requirements.txt >"$DLD_VENV/.dld-requirements"
  install --constraint "$constraints" --requirement "$DLD_VENV/.dld-requirements"
  "$python" tools/fix_torchaudio.py
}

install_package() {
  echo "[5/5] This package and its commands"
  install --no-deps --no-build-isolation --editable .
  "$python" -c 'import speechbrain, sentencepiece, soundfile, dld' >>"$log" 2>&1 ||
    { tail -n 15 "$log" >&2 && fail "the environment does not work (see above); remove $DLD_VENV and start again"; }
  fingerprint >"$stamp"
  echo "Set-up is done: $("$python" -V), torch $(torch_of "$python"), in $DLD_VENV"
}

# Installs tools/requirements-$1.txt, once. What cannot be installed is an error for `dev`, and a warning for `test`, whose tests are
# then skipped. Tries again when the pins change, or when there is a compiler that was not there.
add_group() {
  local pins=tools/requirements-$1.txt marker=$DLD_VENV/.dld-installed-$1 state requirements missing=()
  [[ -f $pins ]] || fail "unknown group '$1'; there are test and dev"
  state=$(<"$stamp")$(<"$pins")$(command -v c++ cmake || true)
  if [[ -f $marker && $(<"$marker") == "$state" ]]; then return; fi
  echo "[$1] The packages of $pins"
  mapfile -t requirements < <(grep -v '^#' "$pins")
  for requirement in "${requirements[@]}"; do
    try_install --constraint "$constraints" --constraint "$DLD_VENV/.dld-requirements" "$requirement" ||
      missing+=("${requirement%%[=;]*}")
  done
  if ((${#missing[@]})); then
    [[ $1 == test ]] || fail "pip could not install ${missing[*]} (what it said is in $log); is the network up?"
    echo "install.sh: warning: pip could not install ${missing[*]} (what it said is in $log); tests that need it are skipped." \
      "KenLM needs a C++ compiler and cmake. To try again, remove $marker" >&2
  fi
  echo "$state" >"$marker"
}

constraints=$DLD_VENV/.dld-constraints
if [[ ! -x $python || ! -f $stamp || $(<"$stamp") != "$(fingerprint)" ]]; then
  rm -f "$stamp"
  : >"$log"
  make_environment
  install_dependencies
  install_package
fi
for group in "$@"; do add_group "$group"; done
