# shellcheck shell=bash disable=SC2034,SC2154  # tools/compare.sh reads and sets these
# DLD with one thing changed at a time, in shorter runs than the comparison's; all with evenly spaced blocks.

exp=exp_ablations
runs="static ld dld dld_start dld_even dld_even_start dld_sandwich dld_uniform dld_rising dld_ramp dld_temperature dld_lambda"
runs+=" dld_augmented dld_closed_norm dld_interctc dld_hidden dld_blank"
train_args="--num_epochs 8 --decode_policy evenly-spaced"
options=(--test-sets test_large)
prepare() {
  [[ -e $data/test_large/text ]] || fail "the ablations are decoded on the comparison's test set; run that first"
}

reports() {
  run python -m dld.bin.report --exp "$exp" --output "$exp/report" --baseline dld \
    --systems "${runs// /,}" --title "Conformer on connected numbers: DLD with one thing changed"
}
