# shellcheck shell=bash disable=SC2034  # tools/compare.sh reads this
# The comparison on the mini corpus: every system, and DLD with one thing changed at a time.

exp=exp
runs="static ld dld dld_plus ld_seed2 dld_seed2 dld_plus_seed2 early_exit interctc_sd self_kd"
runs+=" dedicated_n2 dedicated_n4 dedicated_n6 dedicated_n8 dedicated_n10 dedicated_n12"
ablations="dld_even dld_start dld_sandwich dld_uniform dld_rising dld_ramp dld_temperature dld_lambda dld_augmented"
ablations+=" dld_closed_norm dld_interctc dld_hidden dld_blank"
runs+=" $ablations"

# The voices of the recipe's own test set say four times as much: its intervals are wide.
options=(--test-sets test_large)
prepare() {
  local/data.sh --scale "${COMPARE_SCALE:-4}" "${data}_large"
  rm -rf "${data:?}/test_large"
  cp -r "${data}_large/test" "$data/test_large"
}

reports() {
  python -m dld.bin.report --exp "$exp" --output "$exp/comparison" --baseline ld,dedicated \
    --systems static,dedicated,ld,dld,dld_plus,early_exit,interctc_sd,self_kd \
    --title "Conformer on connected numbers: every system at every depth"
  python -m dld.bin.report --exp "$exp" --output "$exp/ablations" --baseline dld \
    --systems "dld,${ablations// /,}" --title "Conformer on connected numbers: DLD with one thing changed"
}
