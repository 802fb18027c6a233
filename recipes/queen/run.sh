#!/usr/bin/env bash
# Queen: dynamic networks from Whisper's encoder on 4.4 h of voice acting, from the game's file to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/options.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

. ../common/options.sh
corpus=
extra_data=
librispeech=
model=whisper
size=tiny
whisper=

help_message="Usage: ./run.sh [options]; paths are relative to this folder
$(stages_help)
  --corpus FILE       a local queen.1c, or Debian's package; without it, the package is fetched
  --extra-data 'A B'  Kaldi data directories to train on as well
  --librispeech DIR   its test-other becomes data/test_other, its train-clean-100 data/train_librispeech
  --model NAME        whisper, or a conformer of the paper's size, started from nothing ($model)
  --size NAME         of Whisper: tiny, base or small ($size)
  --whisper SOURCE    its weights: a folder that transformers saved, or an id of the hub (openai/whisper-SIZE.en)
$(options_help "exp/SIZE or exp/conformer")"
. ../common/parse_options.sh
no_arguments "$@"
. ./path.sh

case $model-$size in
  whisper-tiny) recipe_args=(--num_blocks 4 --d_model 384) ;;
  whisper-base) recipe_args=(--num_blocks 6 --d_model 512) ;;
  whisper-small) recipe_args=(--num_blocks 12 --d_model 768) ;;
  whisper-*) echo "run.sh: error: --size takes tiny, base or small, not '$size'" >&2 && exit 1 ;;
  conformer-*) recipe_args=() ;;
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
  recipe_args+=(--pretrained "${whisper:-openai/whisper-$size.en}")
fi
if [[ -n $extra_data ]]; then
  train_sets=train_extra
  recipe_args+=(--train_data "$data/train_extra")
fi

make_corpus() {
  run local/data.sh --corpus "$corpus" --extra-data "$extra_data" --librispeech "$librispeech" "$data"
}

. ../common/stages.sh
fit_to_machine "$update_batches"
run_stages
