# shellcheck shell=bash disable=SC2154  # run.sh sets these
# Several folds, one after the other, and the report over all. To be sourced by run.sh.

[[ $fold -eq 0 ]] || wrong_option "--fold is one, --folds several; give one of the two"
if [[ $folds == all ]]; then folds="1 2 3 4 5"; fi
option_words _numbers --folds "$folds"
for _number in "${_numbers[@]}"; do
  [[ $_number =~ ^[1-5]$ ]] || wrong_option "--folds takes all, or numbers from 1 to 5, not '$_number'"
done
data=${data:-data} exp=${exp:-exp}
. ../common/jobs.sh
. ./path.sh
listen
# What a fold proposes to repeat is for it alone.
unset user_options DLD_CALLED_AS
_folders=()
for _number in "${_numbers[@]}"; do
  echo "== fold $_number"
  run ./run.sh --corpus "$corpus" --downloads "$downloads" --allow-partial "$allow_partial" --stop-stage "$stop_stage" \
    --fold "$_number" --data "$data/fold$_number" --exp "$exp/fold$_number" "${passed_on[@]}" "$@"
  _folders+=("$exp/fold$_number")
done
if [[ $stop_stage -ge 10 && ${#_folders[@]} -eq 5 ]]; then
  run python -m dld.bin.report --exp "${_folders[@]}" --output "$exp/folds" \
    --title "Conformer on AN4: five folds of the training speakers"
  echo "see $exp/folds/README.md and $exp/folds/tradeoff.png"
fi
