# shellcheck shell=bash
# Command-line options for the recipes' scripts, by Kaldi's contract. To be sourced:
#
#   stage=1
#   use_lm=false
#   help_message="Usage: $0 [options] <data-dir>"
#   . ../common/parse_options.sh
#
# Each variable that the script has set before is an option: `--use-lm true` or `--use-lm=true` sets use_lm. An option
# without such a variable is an error. A variable that holds true or false takes nothing else. `--config FILE` sources
# FILE before the other options are looked at, wherever it stands. `--help` prints $help_message, or what the function
# help_message prints. Options end at the first word that does not begin with `--`, or at a bare `--`; what follows is left
# in "$@".
# Names are lower-case, so PATH, HOME and their like are no options; neither are arrays and read-only variables.
#
# A script that hands its options on to another one sets the array passed_on before. Options that it does not know are then
# no error: passed_on takes them with their values, and --config and --help, which concern both.

_option_error() {
  echo "$(basename "$0"): error: $1" >&2
  exit 1
}

# The options as a line of text; variables that come from the environment (http_proxy) would only confuse here.
_option_list() {
  local _name _list="--config --help"
  for _name in $(compgen -A variable); do
    if [[ $_name =~ ^[a-z][a-z0-9_]*$ && $_name != help_message && ! ${!_name@a} =~ [aArx] ]]; then
      _list+=" --${_name//_/-}"
    fi
  done
  echo "$_list"
}

# What to write for an option that holds true or false and came without a value.
_option_hint() {
  local _name=${1#--}
  _name=${_name//-/_}
  if [[ $_name =~ ^[a-z][a-z0-9_]*$ && (${!_name:-} == true || ${!_name:-} == false) ]]; then echo "; write $1 true"; fi
}

# _option_distance A B: leaves in _distance how many letters are to be changed, put in or taken out to make B of A.
_option_distance() {
  local _i _j _corner _above _row=()
  for ((_j = 0; _j <= ${#2}; _j++)); do _row[_j]=$_j; done
  for ((_i = 1; _i <= ${#1}; _i++)); do
    _corner=${_row[0]} _row[0]=$_i
    for ((_j = 1; _j <= ${#2}; _j++)); do
      _above=${_row[_j]} _distance=$_corner
      [[ ${1:_i-1:1} == "${2:_j-1:1}" ]] || ((++_distance))
      if ((_above + 1 < _distance)); then _distance=$((_above + 1)); fi
      if ((_row[_j - 1] + 1 < _distance)); then _distance=$((_row[_j - 1] + 1)); fi
      _row[_j]=$_distance _corner=$_above
    done
  done
  _distance=${_row[${#2}]}
}

# What may have been meant by an unknown option, or nothing.
_option_advice() {
  local _known _near='' _least=3 _distance
  for _known in $(_option_list); do
    _option_distance "${1//_/-}" "$_known"
    if [[ $_distance -lt $_least ]]; then _least=$_distance _near=$_known; fi
  done
  if [[ -n $_near ]]; then echo "did you mean $_near? "; fi
}

_option_set() {
  local _option=$1 _value=$2 _name=${1#--}
  _name=${_name//-/_}
  if [[ ! $_name =~ ^[a-z][a-z0-9_]*$ || $_name == help_message || ! -v $_name || ${!_name@a} =~ [aAr] ]]; then
    if [[ $_option_passes == true ]]; then
      passed_on+=("$_option" "$_value")
      return
    fi
    _option_error "unknown option $_option; $(_option_advice "$_option")there are: $(_option_list)"
  fi
  if [[ ${!_name} == true || ${!_name} == false ]] && [[ $_value != true && $_value != false ]]; then
    if [[ $_value != --* ]]; then _option_error "$_option takes true or false, not '$_value'"; fi
    _option_error "$_option takes true or false$(_option_hint "$_option")"
  fi
  printf -v "$_name" %s "$_value"
}

_option_help() {
  if [[ $_option_passes == true ]]; then
    passed_on+=(--help)
    return
  fi
  if declare -F help_message >/dev/null; then
    help_message
  else
    echo "${help_message:-Usage: $(basename "$0") [options]; options: $(_option_list)}"
  fi
  exit 0
}

# Walks over the options: first for --config alone, then for all the others.
# Leaves in _option_count how many words they take.
_option_walk() {
  local _pass=$1 _option _value
  shift
  _option_count=$#
  while [[ ${1:-} == --* ]]; do
    _option=$1
    shift
    case $_option in
      --) break ;;
      --help)
        if [[ $_pass == others ]]; then _option_help; fi
        continue
        ;;
      --*=*)
        _value=${_option#*=}
        _option=${_option%%=*}
        ;;
      *)
        [[ $# -gt 0 ]] || _option_error "$_option needs a value$(_option_hint "$_option")"
        _value=$1
        shift
        ;;
    esac
    if [[ $_pass == others && $_option != --config ]]; then
      _option_set "$_option" "$_value"
    elif [[ $_pass == others && $_option_passes == true ]]; then
      passed_on+=(--config "$_value")
    elif [[ $_pass == config && $_option == --config ]]; then
      [[ -f $_value && -r $_value ]] || _option_error "--config: cannot read $_value"
      # Without a slash, bash would look for the file in PATH.
      # shellcheck disable=SC1090
      . "$(dirname "$_value")/$(basename "$_value")"
    fi
  done
  _option_count=$((_option_count - $#))
}

# The user's options as they were given to the script that was called; messages propose them again.
declare -p user_options &>/dev/null || user_options=("$@")
_option_passes=false
if declare -p passed_on &>/dev/null; then _option_passes=true; fi
_option_walk config "$@"
_option_walk others "$@"
shift "$_option_count"
unset _option_count _option_passes
unset -f _option_error _option_list _option_hint _option_distance _option_advice _option_set _option_help _option_walk
