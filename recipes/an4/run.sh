#!/usr/bin/env bash
# CMU AN4 (0.81 h of spelled words, numbers and commands): from the corpus to the depth–WER table, also by cross-validation.
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
allow_partial=false
fold=0
folds=
data=
exp=
stop_stage=10
. ../common/parse_options.sh
. ../common/words.sh

recipe_help="  --corpus DIR        AN4 as distributed; without it, its repository is cloned to --downloads ($downloads)
  --allow-partial BOOL   accept a part of the corpus, or a faulty one ($allow_partial)
  --fold N            1 to 5: train on a part of the training speakers and test on another fifth of them, in data/foldN
                      and exp/foldN; 0: the official split ($fold)
  --folds WHAT        all, or numbers as '1 2': these folds one after the other, and with all, a report over them in
                      exp/folds; --data and --exp are then the folders that hold those of the folds"
# The network is so small that a second thread gains nothing, and waits for the first where the machine is busy.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

option_number --fold "$fold"
[[ $fold -le 5 ]] || wrong_option "--fold takes 1 to 5, or 0 for the official split, not '$fold'"
if [[ -n $folds ]]; then
  . local/folds.sh
  exit
fi
_part=
if [[ $fold -gt 0 ]]; then _part=/fold$fold; fi

. ../common/asr.sh \
  --recipe-help "$recipe_help" \
  --data "${data:-data$_part}" \
  --exp "${exp:-exp$_part}" \
  --stop-stage "$stop_stage" \
  --data-options "$(quoted --corpus "$corpus" --downloads "$downloads" --allow-partial "$allow_partial" --fold "$fold")" \
  --device cpu \
  "${passed_on[@]}" "$@"
