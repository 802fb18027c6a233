# shellcheck shell=bash
# Stages 2 to 10, the same for every corpus. To be sourced by a recipe's run.sh after its options.
#
# The recipe sets: stage stop_stage data exp train_sets dev_set test_sets systems train_args decode_args report_args lm
# device ngpu nj restart, and defines make_corpus (stage 1). A system's experiment file is
# hparams/SYSTEM$hparams_suffix.yaml, or is in hparams/ablations. An array recipe_args may hold settings that the recipe has
# for stages 3 to 6; train_args, the user's, come after them.

# shellcheck disable=SC2154  # the recipe sets these

shopt -s extglob
. "$(dirname "${BASH_SOURCE[0]}")/words.sh"
. "$(dirname "${BASH_SOURCE[0]}")/jobs.sh"

fail() {
  echo "$(basename "$0"): error: $1" >&2
  exit 1
}

# need FILE STAGE: FILE must be there, and STAGE is what makes it.
need() {
  [[ -e $1 ]] || fail "$1 is missing; stage $2 makes it: ./run.sh --stage $2 --stop-stage $2"
}

# A run has the name of its system. Further ones have more to it: dld_seed2, and a dedicated network its depth, dedicated_n4.
system_of() {
  local name=${1%_seed+([0-9])}
  [[ $name == dedicated_n+([0-9]) ]] && name=dedicated
  echo "$name"
}

hparams_of() {
  local name
  name=$(system_of "$1")
  [[ $name != static ]] || name=teacher
  name+=${hparams_suffix:-}.yaml
  if [[ -e hparams/ablations/$name ]]; then echo "hparams/ablations/$name"; else echo "hparams/$name"; fi
}

# What a run's name asks for in addition to its experiment file.
run_settings() {
  local name=${1%_seed+([0-9])}
  run_args=()
  if [[ $1 == *_seed+([0-9]) ]]; then run_args+=(--seed "${1##*_seed}" --exp_dir "$exp/$1"); fi
  if [[ $name == dedicated_n+([0-9]) ]]; then run_args+=(--depth "${name##*_n}"); fi
}

begin_stage() {
  [[ $stage -le $1 && $stop_stage -ge $1 ]] || return 1
  echo "== stage $1: $2 (${SECONDS} s)"
}

# What every command that reads an experiment file is given.
settings() {
  option_words train_words --train-args "$train_args"
  setting_args=(--data "$data" --exp "$exp" "${recipe_args[@]}" "${train_words[@]}")
}

# setting_of RUN KEY: a value of the experiment that a run is.
setting_of() {
  settings
  run_settings "$1"
  python -m dld.bin.config "$(hparams_of "$1")" --get "$2" "${run_args[@]}" "${setting_args[@]}"
}

# The policy that dld decode will take: what the network was trained with says so; its experiment file may have changed.
decode_policy() {
  local file=$exp/$1/hyperparams.yaml
  if [[ -e $file ]]; then
    python -m dld.bin.config "$file" --get decode_policy
  else
    setting_of "$1" decode_policy
  fi
}

need_training_data() {
  need "$data/$dev_set/text" 1
  need "$data/lang/bpe.model" 3
}

train_system() {
  local system=$1 launch=(python -m dld.bin.train)
  need_training_data
  if [[ $ngpu -gt 1 ]]; then launch=(torchrun --standalone "--nproc-per-node=$ngpu" -m dld.bin.train); fi
  local args=()
  if [[ $restart == true ]]; then args+=(--restart true); fi
  # Under torchrun each process takes the GPU of its own rank.
  if [[ -n $device && $ngpu -le 1 ]]; then args+=(--device "$device"); fi
  settings
  run_settings "$system"
  run "${launch[@]}" "$(hparams_of "$system")" "${args[@]}" "${run_args[@]}" "${setting_args[@]}"
}

# Stages 4 and 5 at a time: the LD baseline needs no teacher. What it says goes to a log.
train_side_by_side() {
  local log=$exp/log/train_ld.log
  need_training_data
  mkdir -p "$exp/log"
  echo "the LD baseline of stage 5 trains at the same time; its log is $log"
  in_background "$log" train_system ld
  train_system static
  wait "${background[0]}" ||
    { tail -n 5 "$log" >&2 && fail "training the LD baseline failed; its last words are above, all in $log"; }
  background=()
}

# fit_to_machine BATCHES: for recipes of the paper's size. Takes the GPU where there is one and no device was chosen, full
# precision without a GPU, and BATCHES batches for each update, shared among the GPUs.
fit_to_machine() {
  local gpus=$((ngpu > 1 ? ngpu : 1))
  if [[ -z $device ]]; then
    device=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
  fi
  if [[ $device == cpu ]]; then train_args="--precision fp32 $train_args"; fi
  train_args="--grad_accumulation_factor $((($1 + gpus - 1) / gpus)) $train_args"
}

# Leaves the path of the language model in lm_file: `--lm train` estimates a 3-gram from the training text, `--lm corpus` takes
# the one that the corpus has (the recipe's function corpus_lm prints its path), anything else is a file.
find_lm() {
  local told
  case $lm in
    train)
      lm_file=$data/lm/3gram.arpa
      [[ -e $lm_file ]] || run python -m dld.bin.lm --text "$data/${train_names[0]}/text" --output "$lm_file" --order 3 \
        --dev "$data/$dev_set/text"
      ;;
    corpus)
      declare -F corpus_lm >/dev/null || fail "this corpus has no language model; take --lm train or --lm FILE"
      told=$(mktemp)
      run corpus_lm >"$told"
      lm_file=$(<"$told")
      rm "$told"
      ;;
    *) lm_file=$lm ;;
  esac
  [[ -e $lm_file ]] || fail "no language model $lm_file"
}

search_table() {
  run python -m dld.bin.gate_table --exp "$exp/$1" --data "$data/$dev_set" ${device:+--device "$device"}
}

# for_each FUNCTION NAME…: FUNCTION with each name, $nj at a time; the output of those that run next to others comes when they end.
for_each() {
  local work=$1 name pid place failed=
  shift
  if [[ $nj -le 1 ]]; then
    for name in "$@"; do "$work" "$name"; done
    return
  fi
  local waiting=("$@") names=() log=$exp/log
  mkdir -p "$log"
  while [[ ${#waiting[@]} -gt 0 || ${#background[@]} -gt 0 ]]; do
    while [[ ${#waiting[@]} -gt 0 && ${#background[@]} -lt $nj ]]; do
      name=${waiting[0]}
      in_background "$log/${work}_$name.log" "$work" "$name"
      names+=("$name") waiting=("${waiting[@]:1}")
    done
    # Whichever ends first makes room for the next.
    wait -n || true
    for place in "${!background[@]}"; do
      pid=${background[$place]} name=${names[$place]}
      if kill -0 "$pid" 2>/dev/null; then continue; fi
      wait "$pid" || failed+=" $name"
      cat "$log/${work}_$name.log"
      unset "background[$place]" "names[$place]"
    done
    background=("${background[@]}") names=("${names[@]}")
  done
  [[ -z $failed ]] || fail "$work failed for$failed; see above"
}

has_system() {
  [[ " ${system_names[*]} " == *" $1 "* ]]
}

# Splits the options that hold words or names into arrays, and checks the numbers.
read_options() {
  option_number --stage "$stage"
  option_number --stop-stage "$stop_stage"
  option_number --ngpu "$ngpu"
  option_number --nj "$nj"
  option_names system_names --systems "$systems"
  option_names test_names --test-sets "$test_sets"
  option_names train_names train_sets "$train_sets"
  option_names dev_names dev_set "$dev_set"
  option_words train_words --train-args "$train_args"
  option_words decode_words --decode-args "$decode_args"
  option_words report_words --report-args "$report_args"
}

run_stages() {
  local system set device_args=()
  read_options
  if [[ -n $device ]]; then device_args=(--device "$device"); fi
  listen
  # Stages 1 and 3 write data; the others read it, many at a time.
  if [[ $stage -le 1 && $stop_stage -ge 1 || $stage -le 3 && $stop_stage -ge 3 && -d $data ]]; then have_data "$data"; fi
  if begin_stage 1 "corpus → data directories"; then
    run make_corpus
  fi

  if begin_stage 2 "validate the data directories"; then
    for set in "${train_names[@]}" "${dev_names[@]}" "${test_names[@]}"; do
      need "$data/$set/wav.scp" 1
      run python -m dld.bin.data validate "$data/$set"
      run python -m dld.bin.data stats "$data/$set"
    done
  fi

  if begin_stage 3 "tokenizer"; then
    need "$data/${train_names[0]}/text" 1
    run python -m dld.bin.tokenizer --text "$data/${train_names[0]}/text" --output "$data/lang" \
      --vocab-size "$(setting_of static vocab_size)"
  fi
  free_data

  if [[ $nj -gt 1 && $stage -le 4 && $stop_stage -ge 5 ]] && has_system static && has_system ld &&
    [[ $(setting_of ld init_from) == None ]]; then
    begin_stage 4 "teacher: the static network"
    train_side_by_side
  else
    if begin_stage 4 "teacher: the static network" && has_system static; then
      train_system static
    fi
    if begin_stage 5 "layer-dropping (LD) baseline" && has_system ld; then
      train_system ld
    fi
  fi

  if begin_stage 6 "dynamic students"; then
    for system in "${system_names[@]}"; do
      [[ $system != static && $system != ld ]] || continue
      need "$exp/static/model.json" 4
      train_system "$system"
    done
  fi

  if [[ -n $lm && $stage -le 8 && $stop_stage -ge 7 ]]; then find_lm; fi

  if begin_stage 7 "gate tables${lm:+ and language-model weights}, searched on $dev_set"; then
    local tables=() policy
    for system in "${system_names[@]}"; do
      policy=$(decode_policy "$system")
      # Where the gates are no choice, as in a static network, there is nothing to search.
      [[ $policy == table ]] || continue
      need "$exp/$system/model.json" "$(trained_by "$system")"
      tables+=("$system")
    done
    for_each search_table "${tables[@]}"
    if [[ -n $lm ]]; then
      for system in "${system_names[@]}"; do
        need "$exp/$system/model.json" "$(trained_by "$system")"
        run python -m dld.bin.tune_lm --exp "$exp/$system" --data "$data/$dev_set" --lm "$lm_file" \
          "${device_args[@]}" "${decode_words[@]}"
      done
    fi
  fi

  if begin_stage 8 "decode at every depth"; then
    for system in "${system_names[@]}"; do
      need "$exp/$system/model.json" "$(trained_by "$system")"
      for set in "${test_names[@]}"; do
        need "$data/$set/text" 1
        run python -m dld.bin.decode --exp "$exp/$system" --data "$data/$set" "${device_args[@]}" "${decode_words[@]}"
        if [[ -n $lm ]]; then
          need "$exp/$system/lm_weights.json" 7
          run python -m dld.bin.decode --exp "$exp/$system" --data "$data/$set" --lm "$lm_file" \
            "${device_args[@]}" "${decode_words[@]}"
        fi
      done
    done
  fi

  if begin_stage 9 "score"; then
    for system in "${system_names[@]}"; do
      for set in "${test_names[@]}"; do
        run local/score.sh --all true "$data/$set" "$data/lang" "$exp/$system"
      done
    done
  fi

  if begin_stage 10 "report"; then
    local reported=
    for system in "${system_names[@]}"; do reported+=,$(system_of "$system"); done
    run python -m dld.bin.report --exp "$exp" --output "$exp/report" --systems "${reported#,}" "${report_words[@]}"
    echo "see $exp/report/results.md and $exp/report/tradeoff.png"
  fi
  echo "== done (${SECONDS} s)"
}

trained_by() {
  case $1 in
    static) echo 4 ;;
    ld) echo 5 ;;
    *) echo 6 ;;
  esac
}
