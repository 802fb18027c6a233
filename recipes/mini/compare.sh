# shellcheck shell=bash disable=SC2034,SC2154  # tools/compare.sh reads and sets these
# The comparison on the mini corpus: every system.

exp=exp
runs="static ld dld dld_plus ld_seed2 dld_seed2 dld_plus_seed2 early_exit interctc_sd self_kd"
runs+=" dedicated_n2 dedicated_n4 dedicated_n8 dedicated_n12"

# The voices of the recipe's own test set say three times as much: its intervals are wide.
options=(--test-sets test_large)
prepare() {
  run local/data.sh --scale "${COMPARE_SCALE:-3}" "${data}_large"
  rm -rf "${data:?}/test_large" "$data/.test_large"
  # Whole or not there.
  cp -r "${data}_large/test" "$data/.test_large"
  mv "$data/.test_large" "$data/test_large"
}

reports() {
  run python -m dld.bin.report --exp "$exp" --output "$exp/comparison" --baseline ld,dedicated \
    --systems static,dedicated,ld,dld,dld_plus,early_exit,interctc_sd,self_kd \
    --title "Conformer on connected numbers: every system at every depth"
}
