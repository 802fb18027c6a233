# shellcheck shell=bash disable=SC2034  # tools/compare.sh reads this
# The comparison on queen: Whisper's encoder under every system. --size base needs --exp exp/base.

exp=exp/tiny
runs="static ld dld dld_plus ld_seed2 dld_seed2 dld_plus_seed2 dedicated_n1 dedicated_n2 dedicated_n3 dedicated_n4"
runs+=" early_exit interctc_sd self_kd"
options=(--test-sets "test test_other")

reports() {
  run python -m dld.bin.report --exp "$exp" --output "$exp/comparison" --baseline ld,dedicated,static \
    --systems static,dedicated,ld,dld,dld_plus,early_exit,interctc_sd,self_kd \
    --title "Whisper's encoder on queen: every system at every depth"
}
