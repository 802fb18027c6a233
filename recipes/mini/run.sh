#!/usr/bin/env bash
# Mini: connected numbers in noise, spoken by synthetic voices. Everything from scratch to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/asr.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

passed_on=()
quick=false
model=conformer
scale=1
snr_low=20
snr_high=30
data=data
exp=
train_args=
. ../common/parse_options.sh

recipe_help="  --quick BOOL        everything smaller, about a minute: a first look, no results ($quick)
  --model NAME        conformer, or a miniature wavlm started from scratch ($model)
  --scale X           factor on the number of utterances of the corpus ($scale)
  --snr-low DB, --snr-high DB   noise of the corpus ($snr_low to $snr_high dB)"
# The network is so small that a second thread gains nothing, and waits for the first where the machine is busy.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

_root=exp
if [[ $quick == true ]]; then
  if [[ $data == data ]]; then data=data_quick; fi
  _root=exp_quick
  if [[ $scale == 1 ]]; then scale=0.3; fi
  passed_on=(--decode-args "--rtf-utterances 1" "${passed_on[@]}")
  train_args="--num_blocks 4 --decode_depths [2,4] --valid_depths [2,4] --num_epochs 3 --max_batch_seconds 6 --lr 2e-3 --warmup 100 $train_args"
fi
case $model in
  conformer) _suffix= ;;
  wavlm) _suffix=_wavlm _root+=/wavlm ;;
  *) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
esac

. ../common/words.sh
. ../common/asr.sh \
  --recipe-help "$recipe_help" \
  --data "$data" \
  --exp "${exp:-$_root}" \
  --hparams-suffix "$_suffix" \
  --data-options "$(quoted --scale "$scale" --snr-low "$snr_low" --snr-high "$snr_high")" \
  --train-args "$train_args" \
  --device cpu \
  --nj 2 \
  "${passed_on[@]}" "$@"
