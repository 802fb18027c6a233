#!/usr/bin/env bash
# Queen: dynamic networks from Whisper's encoder on 4.4 h of voice acting, from the game's file to the depth–WER table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=1
stop_stage=10
corpus=
extra_data=
librispeech=
model=whisper
size=tiny
whisper=
data=data
exp=
systems="static ld dld"
test_sets="test"
train_args=
decode_args=
lm=
restart=false
device=
ngpu=1

# shellcheck disable=SC2034  # run_stages reads these
{
  train_sets=train
  dev_set=dev
  report_args=
  nj=1
}

help_message="Usage: ./run.sh [options]; paths are relative to this folder
  --stage N, --stop-stage N   first and last stage to run ($stage, $stop_stage):
      1 corpus   2 validate   3 tokenizer   4 teacher   5 LD baseline   6 DLD student
      7 gate tables   8 decode   9 score   10 report
  --corpus FILE       a local queen.1c, or Debian's package; without it, the package is fetched
  --extra-data 'A B'  Kaldi data directories to train on as well
  --librispeech DIR   its test-other becomes data/test_other, its train-clean-100 data/train_librispeech
  --model NAME        whisper, or a conformer of the paper's size, started from nothing ($model)
  --size NAME         of Whisper: tiny, base or small ($size)
  --whisper SOURCE    its weights: a folder that transformers saved, or an id of the hub (openai/whisper-SIZE.en)
  --systems 'A B'     systems to train and compare ($systems)
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --decode-args 'ARGS'   options of dld-decode for stage 8, as '--depths 1,2,3 --policy first-n'
  --lm WHAT           decode with a language model too: train (a 3-gram of the training text)
                      or an ARPA file; its weights are tuned on dev in stage 7 (none)
  --restart BOOL      train anew where there is a run already ($restart)
  --data DIR, --exp DIR   folders for data and experiments ($data, exp/SIZE or exp/conformer)
  --device NAME       cpu or cuda (default: cuda where there is one)
  --ngpu N            GPUs to train on, through torchrun ($ngpu)"
. ../common/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "run.sh: error: unexpected argument '$1'; see ./run.sh --help" >&2
  exit 1
fi
. ./path.sh

case $model-$size in
  whisper-tiny) shape="--num_blocks 4 --d_model 384" ;;
  whisper-base) shape="--num_blocks 6 --d_model 512" ;;
  whisper-small) shape="--num_blocks 12 --d_model 768" ;;
  whisper-*) echo "run.sh: error: --size takes tiny, base or small, not '$size'" >&2 && exit 1 ;;
  conformer-*) shape= ;;
  *) echo "run.sh: error: --model takes whisper or conformer, not '$model'" >&2 && exit 1 ;;
esac
update_batches=1
if [[ $model == conformer ]]; then
  # shellcheck disable=SC2034  # hparams_of reads it
  hparams_suffix=_conformer
  exp=${exp:-exp/conformer}
  update_batches=2
else
  exp=${exp:-exp/$size}
  shape+=" --pretrained ${whisper:-openai/whisper-$size.en}"
fi
if [[ -n $extra_data ]]; then
  train_sets=train_extra
  shape+=" --train_data $data/train_extra"
fi
train_args="$shape $train_args"

make_corpus() {
  local/data.sh --corpus "$corpus" --extra-data "$extra_data" --librispeech "$librispeech" "$data"
}

. ../common/stages.sh
fit_to_machine "$update_batches"
run_stages
