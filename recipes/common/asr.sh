# shellcheck shell=bash disable=SC2154  # options.sh sets these
# The ten stages, the same for every corpus. To be sourced by a recipe's run.sh with options, after what the recipe does
# with options of its own: `. ../common/asr.sh --data "$data" --test-sets "dev test" "${passed_on[@]}" "$@"`.
# A recipe's local/ holds data.sh (stage 1), score.sh (stage 9), and lm.sh where the corpus has text for language models.

. ../common/options.sh
# They are in "$@".
unset passed_on
. ../common/parse_options.sh
. ../common/words.sh
. ../common/jobs.sh
. ../common/needs.sh
. ../common/steps.sh
. ../common/lm.sh
[[ $# -eq 0 ]] || wrong_option "unexpected argument '$1'; see ./run.sh --help"
read_options
. ./path.sh
listen
check_inputs

if begin_stage 1 "corpus → data directories"; then
  run_alone_in "$data" local/data.sh "${data_words[@]}" "$data"
fi

if begin_stage 2 "validate the data directories"; then
  for set in "${train_names[@]}" "${dev_names[@]}" "${test_names[@]}"; do
    need "$data/$set/wav.scp" 1
    run python -m dld.bin.data validate "$data/$set"
    run python -m dld.bin.data stats "$data/$set"
  done
fi

# A recipe whose settings follow from its data has this function.
if [[ $stop_stage -ge 3 ]] && declare -F after_data >/dev/null; then after_data; fi
fitted=()
if [[ -n $update_batches ]]; then fit_to_machine "$update_batches"; fi
# The user's settings come last.
setting_words=("${recipe_words[@]}" "${fitted[@]}" "${train_words[@]}")

if begin_stage 3 "tokenizer"; then
  need "$data/${train_names[0]}/text" 1
  size=$(setting_of static vocab_size)
  need "$data/$dev_set/text" 1
  run_alone_in "$data" python -m dld.bin.tokenizer --text "$data/${train_names[0]}/text" --output "$data/lang" \
    --vocab-size "$size" --characters "$data/$dev_set/text"
fi

if begin_stage 4 "teacher: the static network" && has_system static; then
  train_first
fi

if begin_stage 5 "layer-dropping (LD) baseline" && has_system ld && [[ $ld_is_trained == false ]]; then
  train ld
fi

if begin_stage 6 "dynamic students"; then
  for system in "${system_names[@]}"; do
    [[ $system != static && $system != ld ]] || continue
    train "$system"
  done
fi

if [[ -n $lm && $stage -le 8 && $stop_stage -ge 7 ]]; then find_lm; fi

if begin_stage 7 "gate tables${lm:+, language-model weights} and confidences of words, on $dev_set"; then
  search_tables
  calibrate
  for system in ${lm:+"${system_names[@]}"}; do tune_lm "$system"; done
fi

if begin_stage 8 "decode at every depth"; then
  for system in "${system_names[@]}"; do
    for set in "${test_names[@]}"; do decode "$system" "$set"; done
  done
fi

if begin_stage 9 "score"; then
  for system in "${system_names[@]}"; do
    for set in "${test_names[@]}"; do
      run local/score.sh --all true "$data/$set" "$data/lang" "$exp/$system"
    done
  done
fi

if begin_stage 10 "time of an utterance, report"; then
  run python -m dld.bin.latency "${system_names[@]/#/$exp/}" --data "$data/${test_names[0]}"
  reported=$(IFS=, && echo "${system_names[*]}")
  run python -m dld.bin.report --exp "$exp" --output "$exp/report" --systems "$reported" "${report_words[@]}"
  echo "see $exp/report/README.md and $exp/report/tradeoff.png"
fi
echo "== done (${SECONDS} s)"
