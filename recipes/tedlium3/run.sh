#!/usr/bin/env bash
# TED-LIUM 3 (452 h of talks): from the corpus as it is distributed to the depth–WER table.
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
downloads=downloads
data_args=
allow_partial=false
model=conformer
exp=
. ../common/parse_options.sh

recipe_help="  --corpus DIR        TEDLIUM_release-3 as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--start-padding 0.15 --end-padding 0.1'
  --allow-partial BOOL   accept a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)"

case $model in
  conformer) _suffix='' _exp=exp ;;
  wavlm) _suffix=_wavlm _exp=exp/wavlm ;;
  *) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
esac

. ../common/words.sh
. ../common/asr.sh \
  --recipe-help "$recipe_help" \
  --exp "${exp:-$_exp}" \
  --test-sets "dev test" \
  --hparams-suffix "$_suffix" \
  --data-options "$(quoted --corpus "$corpus" --downloads "$downloads" --allow-partial "$allow_partial") $data_args" \
  --lm-options "$(quoted --corpus "${corpus:-$downloads}")" \
  --update-batches 4 \
  "${passed_on[@]}" "$@"
