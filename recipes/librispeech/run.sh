#!/usr/bin/env bash
# LibriSpeech (100, 460 or 960 h of read books): from the corpus as it is distributed to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/options.sh ]] || _self=$(readlink -f "$_self")
cd "$(dirname "$_self")"

. ../common/options.sh
train_set=960
corpus=
downloads=downloads
data_args=
allow_partial=false
data=
model=conformer
test_sets="dev-clean dev-other test-clean test-other"

help_message="Usage: ./run.sh [options]; paths are relative to this folder
$(stages_help)
  --train-set H       hours to train on: 100, 460 or 960 ($train_set)
  --corpus DIR        LibriSpeech as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--held-out 10'
  --allow-partial BOOL   go on with a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)
$(options_help "exp/HOURS or exp/wavlm_HOURS")"
. ../common/parse_options.sh
no_arguments "$@"
. ./path.sh

case $model-$train_set in
  # Fewer hours: more epochs, smaller updates.
  conformer-100) update_batches=2 train_args="--num_epochs 120 --warmup 5000 $train_args" ;;
  conformer-460) update_batches=4 train_args="--num_epochs 70 $train_args" ;;
  conformer-960 | wavlm-100 | wavlm-460 | wavlm-960) update_batches=4 ;;
  *-100 | *-460 | *-960) echo "run.sh: error: --model takes conformer or wavlm, not '$model'" >&2 && exit 1 ;;
  *) echo "run.sh: error: --train-set takes 100, 460 or 960, not '$train_set'" >&2 && exit 1 ;;
esac
data=${data:-data/$train_set}
if [[ $model == wavlm ]]; then
  # shellcheck disable=SC2034  # hparams_of reads it
  hparams_suffix=_wavlm
  exp=${exp:-exp/wavlm_$train_set}
fi
exp=${exp:-exp/$train_set}

make_corpus() {
  local words
  option_words words --data-args "$data_args"
  run local/data.sh --corpus "$corpus" --downloads "$downloads" --train-set "$train_set" \
    --allow-partial "$allow_partial" "${words[@]}" "$data"
}

# A 3-gram of the books, pruned; the larger ones can be given as --lm FILE.
corpus_lm() {
  run python -m dld.bin.prepare librispeech --language-model 3-gram.pruned.1e-7 "$downloads"
}

. ../common/stages.sh
fit_to_machine "$update_batches"
run_stages
