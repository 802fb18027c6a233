#!/usr/bin/env bash
# Mini: connected numbers in noise, spoken by synthetic voices. Everything from nothing to the depth–WER table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=1
stop_stage=10
quick=false
model=conformer
scale=1
nj=2
data=data
exp=
systems="static ld dld"
test_sets="test"
train_args=
decode_args=
lm=
restart=false
device=cpu
snr_low=20
snr_high=30

# shellcheck disable=SC2034  # run_stages reads these
{
  train_sets=train
  dev_set=dev
  ngpu=0
  report_args=
}

help_message="Usage: ./run.sh [options]
  --stage N, --stop-stage N   first and last stage to run ($stage, $stop_stage):
      1 corpus   2 validate   3 tokenizer   4 teacher   5 LD baseline   6 DLD student
      7 gate tables   8 decode   9 score   10 report
  --quick BOOL        everything smaller, about 3 minutes: a first look, no results ($quick)
  --model NAME        conformer, or a miniature wavlm started from nothing ($model)
  --scale X           factor on the number of utterances of the corpus ($scale)
  --nj N              more than 1: an LD baseline started from nothing trains beside the teacher ($nj)
  --systems 'A B'     systems to train and compare ($systems)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --decode-args 'ARGS' options of dld-decode for stage 8, as '--depths 1,2,3 --policy first-n'
  --lm WHAT           decode with a language model too: train (a 3-gram of the training text)
                      or an ARPA file; its weights are tuned on dev in stage 7 (none)
  --restart BOOL      train anew where there is a run already ($restart)
  --data DIR, --exp DIR   folders for data and experiments ($data, exp or exp/wavlm)
  --device NAME       cpu or cuda ($device)
  --snr-low DB, --snr-high DB   noise of the corpus ($snr_low to $snr_high dB)"
. ../common/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "run.sh: error: unexpected argument '$1'; see ./run.sh --help" >&2
  exit 1
fi
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
  local/data.sh --scale "$scale" --snr-low "$snr_low" --snr-high "$snr_high" "$data"
}

. ../common/stages.sh
run_stages
