#!/usr/bin/env bash
# LibriSpeech (100, 460 or 960 h of read books): from the corpus as it is distributed to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/asr.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

passed_on=()
train_set=960
corpus=
downloads=downloads
data_args=
allow_partial=false
model=conformer
data=
exp=
. ../common/parse_options.sh

recipe_help="  --train-set H       hours to train on: 100, 460 or 960 ($train_set)
  --corpus DIR        LibriSpeech as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--held-out 10'
  --allow-partial BOOL   accept a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)"

_batches=4 _settings=
case $model-$train_set in
  # Fewer hours: more epochs, smaller updates.
  conformer-100) _batches=2 _settings="--num_epochs 120 --warmup 5000" ;;
  conformer-460) _settings="--num_epochs 70" ;;
  conformer-960 | wavlm-100 | wavlm-460 | wavlm-960) ;;
  *-100 | *-460 | *-960) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
  *) echo "run.sh: error: --train-set takes 100, 460 or 960, not '$train_set'" >&2 && exit 1 ;;
esac
case $model in
  conformer) _suffix='' _exp=exp/$train_set ;;
  wavlm) _suffix=_wavlm _exp=exp/wavlm_$train_set ;;
esac

. ../common/words.sh
. ../common/asr.sh \
  --recipe-help "$recipe_help" \
  --data "${data:-data/$train_set}" \
  --exp "${exp:-$_exp}" \
  --test-sets "dev-clean dev-other test-clean test-other" \
  --hparams-suffix "$_suffix" \
  --data-options "$(quoted --corpus "$corpus" --downloads "$downloads" --train-set "$train_set" \
    --allow-partial "$allow_partial") $data_args" \
  --lm-options "$(quoted --downloads "$downloads")" \
  --update-batches "$_batches" \
  --settings "$_settings" \
  "${passed_on[@]}" "$@"
