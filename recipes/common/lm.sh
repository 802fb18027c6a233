# shellcheck shell=bash disable=SC2154  # options.sh and asr.sh set these
# The steps of asr.sh that concern language models. To be sourced.

# Leaves the language model in lm_file: `train` estimates a 3-gram from the training text, `corpus` takes the one that the
# corpus has (local/lm.sh prints its path), anything else is a file.
find_lm() {
  local told
  lm_file=$lm
  if [[ $lm == train ]]; then
    lm_file=$data/lm/3gram.arpa
    [[ -e $lm_file ]] || run python -m dld.bin.lm --text "$data/${train_names[0]}/text" --output "$lm_file" --order 3 \
      --dev "$data/$dev_set/text"
  elif [[ $lm == corpus ]]; then
    [[ -x local/lm.sh ]] || fail "this corpus has no language model; take --lm train or --lm FILE"
    told=$(mktemp)
    run local/lm.sh "${lm_words[@]}" "$data" >"$told"
    lm_file=$(<"$told")
    rm "$told"
  fi
  [[ -e $lm_file ]] || fail "no language model $lm_file"
}

tune_lm() {
  need_model "$1"
  run python -m dld.bin.tune_lm --exp "$exp/$1" --data "$data/$dev_set" --lm "$lm_file" \
    ${device:+--device "$device"} "${decode_words[@]}"
}
