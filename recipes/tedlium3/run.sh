#!/usr/bin/env bash
# TED-LIUM 3 (452 h of talks): from the corpus as it is distributed to the depth–WER table.
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
downloads=downloads
data_args=
allow_partial=false
model=conformer
test_sets="dev test"

help_message="Usage: ./run.sh [options]; paths are relative to this folder
$(stages_help)
  --corpus DIR        TEDLIUM_release-3 as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--start-padding 0.15 --end-padding 0.1'
  --allow-partial BOOL   go on with a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)
$(options_help "exp or exp/wavlm")"
. ../common/parse_options.sh
no_arguments "$@"
. ./path.sh

case $model in
  conformer | wavlm) ;;
  *) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
esac
if [[ $model == wavlm ]]; then
  # shellcheck disable=SC2034  # hparams_of reads it
  hparams_suffix=_wavlm
  exp=${exp:-exp/wavlm}
fi
exp=${exp:-exp}

make_corpus() {
  local words
  option_words words --data-args "$data_args"
  run local/data.sh --corpus "$corpus" --downloads "$downloads" --allow-partial "$allow_partial" "${words[@]}" "$data"
}

# The corpus comes with text for language models. A 4-gram of it, pruned, takes lmplz (KenLM) or much memory and time.
corpus_lm() {
  local file=$data/lm/4gram.arpa.gz texts
  mapfile -t texts < <(compgen -G "${corpus:-$downloads}/LM/*.gz" || compgen -G "${corpus:-$downloads}/TEDLIUM_release-3/LM/*.gz")
  [[ ${#texts[@]} -gt 0 ]] || fail "no LM/*.gz in ${corpus:-$downloads}; give the corpus by --corpus"
  [[ -e $file ]] || run python -m dld.bin.lm --text "$data/train/text" --sentences "${texts[@]}" --lowercase --order 4 \
    --prune 0,0,1,1 --output "$file" --dev "$data/dev/text" >&2
  echo "$file"
}

. ../common/stages.sh
fit_to_machine 4
run_stages
