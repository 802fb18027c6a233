#!/usr/bin/env bash
# TED-LIUM 3 (452 h of talks): from the corpus as it is distributed to the depth–WER table.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=1
stop_stage=10
corpus=
downloads=downloads
data_args=
allow_partial=false
data=data
exp=
model=conformer
systems="static ld dld"
test_sets="dev test"
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
  --corpus DIR        TEDLIUM_release-3 as distributed; without it, it is downloaded to --downloads ($downloads)
  --data-args 'ARGS'  options of local/data.sh, as '--start-padding 0.15 --end-padding 0.1'
  --allow-partial BOOL   go on with a part of the corpus, or a faulty one ($allow_partial)
  --model NAME        conformer or wavlm (fine-tuned from its published weights; $model)
  --systems 'A B'     systems to train and compare ($systems)
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --decode-args 'ARGS'   options of dld-decode for stage 8, as '--depths 2,6,12 --policy first-n'
  --lm WHAT           decode with a language model too: train (a 3-gram of the training text), corpus (the one distributed with it)
                      or an ARPA file; its weights are tuned on dev in stage 7 (none)
  --restart BOOL      train anew where there is a run already ($restart)
  --data DIR, --exp DIR   folders for data and experiments ($data, exp or exp/wavlm)
  --device NAME       cpu or cuda (default: cuda where there is one)
  --ngpu N            GPUs to train on, through torchrun ($ngpu)"
. ../common/parse_options.sh
if [[ $# -gt 0 ]]; then
  echo "run.sh: error: unexpected argument '$1'; see ./run.sh --help" >&2
  exit 1
fi
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
  # shellcheck disable=SC2086  # data_args is a list of words
  local/data.sh --corpus "$corpus" --downloads "$downloads" --allow-partial "$allow_partial" $data_args "$data"
}

# The corpus comes with text for language models. A 4-gram of it, pruned, takes lmplz (KenLM) or much memory and time.
corpus_lm() {
  local file=$data/lm/4gram.arpa.gz texts
  mapfile -t texts < <(compgen -G "${corpus:-$downloads}/LM/*.gz" || compgen -G "${corpus:-$downloads}/TEDLIUM_release-3/LM/*.gz")
  [[ ${#texts[@]} -gt 0 ]] || fail "no LM/*.gz in ${corpus:-$downloads}; give the corpus by --corpus"
  [[ -e $file ]] || python -m dld.bin.lm --text "$data/train/text" --sentences "${texts[@]}" --lowercase --order 4 \
    --prune 0,0,1,1 --output "$file" --dev "$data/dev/text" >&2
  echo "$file"
}

. ../common/stages.sh
fit_to_machine 4
run_stages
