# shellcheck shell=bash disable=SC2154  # asr.sh sets and reads these
# What the stages need, checked before the first of them begins, and the command that makes what is missing. To be sourced.

fail() {
  echo "$(basename "$0"): error: $1" >&2
  exit 1
}

# again STAGE: prints the user's own command, with this stage alone.
again() {
  local word is_value=false words=("$0")
  if [[ -n ${DLD_CALLED_AS:-} ]]; then
    read -ra words <<<"$DLD_CALLED_AS"
  elif [[ $0 != */* ]]; then
    words=("./$0")
  fi
  for word in "${user_options[@]}"; do
    if [[ $is_value == true ]]; then
      is_value=false
    elif [[ $word == --stage || $word == --stop[-_]stage ]]; then
      is_value=true
    elif [[ $word != --stage=* && $word != --stop[-_]stage=* ]]; then
      words+=("$word")
    fi
  done
  words+=(--stage "$1" --stop-stage "$1")
  # The teacher of students that are trained without it.
  if [[ $1 == 4 ]] && ! has_system static; then words+=(--systems static); fi
  pasted "${words[@]}"
}

# need FILE STAGE: FILE must be there, and STAGE is what makes it.
need() {
  [[ -e $1 ]] || fail "$1 is missing; stage $2 makes it: $(again "$2")"
}

# need_before NOW FILE STAGE: the same for a later stage NOW: it is enough that STAGE runs before it.
need_before() {
  if [[ $3 -lt $1 ]] && is_asked_for "$3"; then return; fi
  need "$2" "$3"
}

is_asked_for() {
  [[ $stage -le $1 && $stop_stage -ge $1 ]]
}

# Prints the stage that trains a system.
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

# need_network NOW SETTING FOLDER: the experiment that a student of stage NOW learns or starts from.
need_network() {
  if [[ $3 == null || -e $3/model.json ]]; then return; fi
  if [[ $3 != "$exp/static" ]]; then fail "$3/model.json is missing ($2); it is an experiment that is trained before"; fi
  if ! has_system static || ! is_asked_for 4; then need "$3/model.json" 4; fi
}

# check_student NOW SYSTEM: what its training starts and learns from.
check_student() {
  local start teacher
  # The recipe of one's own data chooses the base once it has seen the data.
  hparams_of "$2"
  [[ -e ${hparams[0]} ]] || return 0
  start=$(setting_of "$2" init_from)
  need_network "$1" init_from "$start"
  # Most systems have none.
  teacher=$(setting_of "$2" teacher 2>/dev/null) || return 0
  need_network "$1" teacher "$teacher"
}

# What a stage needs is there, or is made by one that runs before it: nobody trains for hours to read that a file is missing.
check_inputs() {
  local system set
  if is_asked_for 2; then
    for set in "${train_names[@]}" "${dev_names[@]}" "${test_names[@]}"; do need_before 2 "$data/$set/wav.scp" 1; done
  fi
  if is_asked_for 3; then need_before 3 "$data/${train_names[0]}/text" 1; fi
  for system in "${system_names[@]}"; do
    is_asked_for "$(stage_of "$system")" || continue
    need_before 4 "$data/$dev_set/text" 1
    need_before 4 "$data/lang/bpe.model" 3
    [[ $system == static ]] || check_student "$(stage_of "$system")" "$system"
  done
  is_asked_for 8 || return 0
  for system in "${system_names[@]}"; do need_before 8 "$exp/$system/model.json" "$(stage_of "$system")"; done
  for set in "${test_names[@]}"; do need_before 8 "$data/$set/text" 1; done
}
