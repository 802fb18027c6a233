#!/usr/bin/env bash
# Queen: dynamic networks from Whisper's encoder on 4.4 h of voice acting, from the game's file to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/asr.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

passed_on=()
corpus=
extra_data=
librispeech=
model=whisper
size=tiny
whisper=
data=data
exp=
. ../common/parse_options.sh
. ../common/words.sh

recipe_help="  --corpus FILE       a local queen.1c, or Debian's package; without it, the package is fetched
  --extra-data 'A B'  Kaldi data directories to train on as well
  --librispeech DIR   its test-other becomes data/test_other, its train-clean-100 data/train_librispeech
  --model NAME        whisper, or a conformer of the paper's size, started from scratch ($model)
  --size NAME         of Whisper: tiny, base or small ($size)
  --whisper SOURCE    its weights: a folder that transformers saved, or an id of the hub (openai/whisper-SIZE.en)"

case $model-$size in
  whisper-tiny) _settings=(--num_blocks 4 --d_model 384) ;;
  whisper-base) _settings=(--num_blocks 6 --d_model 512) ;;
  whisper-small) _settings=(--num_blocks 12 --d_model 768) ;;
  whisper-*) echo "run.sh: error: --size takes tiny, base or small, not '$size'" >&2 && exit 1 ;;
  conformer-*) _settings=() ;;
  *) echo "run.sh: error: --model takes whisper or conformer, not '$model'" >&2 && exit 1 ;;
esac
case $model in
  whisper) _suffix='' _exp=exp/$size _batches=1 && _settings+=(--pretrained "${whisper:-openai/whisper-$size.en}") ;;
  conformer) _suffix=_conformer _exp=exp/conformer _batches=2 ;;
esac
_train_sets=train
if [[ -n $extra_data ]]; then
  _train_sets=train_extra
  _settings+=(--train_data "$data/train_extra")
fi

. ../common/asr.sh \
  --recipe-help "$recipe_help" \
  --data "$data" \
  --exp "${exp:-$_exp}" \
  --train-sets "$_train_sets" \
  --hparams-suffix "$_suffix" \
  --data-options "$(quoted --corpus "$corpus" --extra-data "$extra_data" --librispeech "$librispeech")" \
  --update-batches "$_batches" \
  --settings "$(quoted "${_settings[@]}")" \
  "${passed_on[@]}" "$@"
