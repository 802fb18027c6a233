# shellcheck shell=bash
# What is in an option, split into words or names. To be sourced; nothing here expands or evaluates the text.

# split_words NAME TEXT: fills the array NAME with the words of TEXT, as a shell splits them: blanks separate, quotes and
# backslashes protect. Stars, brackets and dollars are characters like any other. Returns 1 where a quote is not closed.
split_words() {
  local -n _words=$1
  local _text=$2 _word='' _begun=false _quote='' _char _i
  _words=()
  for ((_i = 0; _i < ${#_text}; _i++)); do
    _char=${_text:_i:1}
    if [[ $_quote == "'" ]]; then
      if [[ $_char == "'" ]]; then _quote=; else _word+=$_char; fi
    elif [[ $_char == "\\" && (-z $_quote || ${_text:_i+1:1} == [\"\\\$\`]) ]]; then
      # At the end of the text a backslash stands for itself.
      _begun=true _word+=${_text:_i+1:1}
      ((++_i < ${#_text})) || _word+=$_char
    elif [[ $_quote == '"' ]]; then
      if [[ $_char == '"' ]]; then _quote=; else _word+=$_char; fi
    elif [[ $_char == ["'\""] ]]; then
      _begun=true _quote=$_char
    elif [[ $_char == [[:space:]] ]]; then
      if [[ $_begun == true ]]; then _words+=("$_word"); fi
      _word='' _begun=false
    else
      _begun=true _word+=$_char
    fi
  done
  if [[ $_begun == true ]]; then _words+=("$_word"); fi
  [[ -z $_quote ]]
}

# quoted WORD…: prints a text that split_words makes these words of.
quoted() {
  local _word _quote="'"
  for _word in "$@"; do
    printf "'%s' " "${_word//$_quote/$_quote\\$_quote$_quote}"
  done
}

# pasted WORD…: prints them as a command line that can be pasted; only words that need quotes have some.
pasted() {
  local _word _line=
  for _word in "$@"; do
    if [[ ! $_word =~ ^[A-Za-z0-9_./=:,@%+-]+$ ]]; then
      _word=$(quoted "$_word")
      _word=${_word% }
    fi
    _line+=" $_word"
  done
  echo "${_line# }"
}

wrong_option() {
  echo "$(basename "$0"): error: $1" >&2
  exit 1
}

# option_words NAME OPTION TEXT: the same; ends the script with a message where OPTION's TEXT is faulty.
option_words() {
  split_words "$1" "$3" || wrong_option "$2: a quote is not closed: $3"
}

# option_names NAME OPTION TEXT: fills NAME with names of systems or data sets, which become names of folders.
option_names() {
  local _name
  local -n _names=$1
  option_words "$1" "$2" "$3"
  [[ ${#_names[@]} -gt 0 ]] || wrong_option "$2 takes at least one name"
  for _name in "${_names[@]}"; do
    [[ $_name =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] ||
      wrong_option "$2: '$_name' is not a name; names have letters, digits, '.', '_' and '-', and no '.' or '-' in front"
  done
}

# option_number OPTION VALUE: ends the script with a message where VALUE is not a whole number.
option_number() {
  [[ $2 =~ ^[0-9]{1,9}$ ]] || wrong_option "$1 takes a whole number, not '$2'"
}

# option_of_driver WORD…: ends the script where words for training name a folder that the other stages would not know of.
option_of_driver() {
  local _word _key
  for _word in "$@"; do
    _key=${_word%%=*}
    case ${_key//-/_} in
      __exp | __exp_dir) wrong_option "--train-args: $_key trains elsewhere than what is decoded; give --exp DIR by itself" ;;
      __data) wrong_option "--train-args: $_key trains on other data than the other stages; give --data DIR by itself" ;;
    esac
  done
}
