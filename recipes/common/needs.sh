# shellcheck shell=bash disable=SC2154  # asr.sh sets these
# What a stage needs of earlier ones. To be sourced.

fail() {
  echo "$(basename "$0"): error: $1" >&2
  exit 1
}

# again STAGE: prints the user's own command with this stage alone, to be pasted.
again() {
  local word words=() skip=false
  for word in "${user_words[@]}"; do
    if [[ $skip == true ]]; then
      skip=false
    elif [[ $word == --stage || $word == --stop[-_]stage ]]; then
      skip=true
    elif [[ $word != --stage=* && $word != --stop[-_]stage=* ]]; then
      words+=("$word")
    fi
  done
  printf %s "${DLD_CALLED_AS:-./run.sh}"
  for word in "${words[@]}" --stage "$1" --stop-stage "$1"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then printf ' %s' "$word"; else printf ' %s' "${word@Q}"; fi
  done
}

# need FILE STAGE: FILE must be there, and STAGE is what makes it.
need() {
  [[ -e $1 ]] || fail "$1 is missing; stage $2 makes it: $(again "$2")"
}

# The stage that trains a system.
stage_of() {
  case $1 in static) echo 4 ;; ld) echo 5 ;; *) echo 6 ;; esac
}

need_model() {
  need "$exp/$1/model.json" "$(stage_of "$1")"
}

need_training_data() {
  need "$data/$dev_set/text" 1
  need "$data/lang/bpe.model" 3
}

# Before anything runs: what the stages from $stage to $stop_stage need of those before them, which takes hours to miss.
need_earlier_stages() {
  local system
  if [[ $stage -gt 3 && $stage -le 6 ]]; then need_training_data; fi
  for system in "${system_names[@]}"; do
    if [[ $stage -gt 4 && $stage -le 6 && $stop_stage -ge 6 && $system != static && $system != ld ]]; then
      need_model static
    fi
    if [[ $stage -gt $(stage_of "$system") && $stage -le 8 && $stop_stage -ge 7 ]]; then need_model "$system"; fi
  done
}
