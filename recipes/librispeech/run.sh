#!/usr/bin/env bash
# LibriSpeech (100, 460 or 960 h of read books): from the corpus as it is distributed to the depth–WER table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=1
stop_stage=10
train_set=960
corpus=
downloads=downloads
data_args=
allow_partial=false
data=
exp=
model=conformer
systems="static ld dld"
test_sets="dev-clean dev-other test-clean test-other"
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
      1 data   2 validate   3 tokenizer   4 teacher   5 LD baseline   6 DLD student
      7 gate tables   8 decode   9 score   10 report
  --train-set H       hours to train on: 100, 460 or 960 ($train_set)
  --corpus DIR        LibriSpeech as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--held-out 10'
  --allow-partial BOOL   go on with a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)
  --systems 'A B'     systems to train and compare ($systems)
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --decode-args 'ARGS'   options of dld-decode for stage 8, as '--depths 2,6,12 --policy first-n'
  --lm WHAT           decode with a language model too: train (a 3-gram of the training text), corpus (the one distributed with it)
                      or an ARPA file; its weights are tuned on dev in stage 7 (none)
  --restart BOOL      train anew where there is a run already ($restart)
  --data DIR, --exp DIR   folders for data and experiments (data/HOURS, exp/HOURS or exp/wavlm_HOURS)
  --device NAME       cpu or cuda (default: cuda where there is one)
  --ngpu N            GPUs to train on, through torchrun ($ngpu)"
. ../common/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "run.sh: error: unexpected argument '$1'; see ./run.sh --help" >&2
  exit 1
fi
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
  # shellcheck disable=SC2086  # data_args is a list of words
  local/data.sh --corpus "$corpus" --downloads "$downloads" --train-set "$train_set" \
    --allow-partial "$allow_partial" $data_args "$data"
}

# A 3-gram of the books, pruned; the larger ones can be given as --lm FILE.
corpus_lm() {
  python -m dld.bin.librispeech --language-model 3-gram.pruned.1e-7 "$downloads"
}

. ../common/stages.sh
fit_to_machine "$update_batches"
run_stages
