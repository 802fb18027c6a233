#!/usr/bin/env bash
# Mini: connected numbers in noise, spoken by synthetic voices. Everything from nothing to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/options.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

. ../common/options.sh
quick=false
model=conformer
scale=1
nj=2
device=cpu
snr_low=20
snr_high=30

help_message="Usage: ./run.sh [options]; paths are relative to this folder
$(stages_help)
  --quick BOOL        everything smaller, about 3 minutes: a first look, no results ($quick)
  --model NAME        conformer, or a miniature wavlm started from nothing ($model)
  --scale X           factor on the number of utterances of the corpus ($scale)
  --snr-low DB, --snr-high DB   noise of the corpus ($snr_low to $snr_high dB)
$(options_help "exp or exp/wavlm")"
. ../common/parse_options.sh
no_arguments "$@"
. ./path.sh
# The network is so small that a second thread gains nothing, and waits for the first where the machine is busy.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

root=exp
if [[ $quick == true ]]; then
  if [[ $data == data ]]; then data=data_quick; fi
  root=exp_quick
  if [[ $scale == 1 ]]; then scale=0.5; fi
  train_args="--num_blocks 6 --decode_depths [2,4,6] --num_epochs 6 --lr 2e-3 $train_args"
fi

# shellcheck disable=SC2034  # hparams_of reads hparams_suffix
case $model in
  conformer) hparams_suffix= ;;
  wavlm) hparams_suffix=_wavlm root+=/wavlm ;;
  *) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
esac
exp=${exp:-$root}

make_corpus() {
  run local/data.sh --scale "$scale" --snr-low "$snr_low" --snr-high "$snr_high" "$data"
}

. ../common/stages.sh
run_stages
