# shellcheck shell=bash disable=SC2034,SC2154  # run.sh and ../common/asr.sh set and read these
# What can be decided only when the data are there. To be sourced by run.sh.

# Called by asr.sh: takes the base that the hours of speech ask for, and of the large one, the epochs.
after_data() {
  # Stage 1 has seen to it that the data are those that were asked for; where it did not run, this does.
  [[ -z $train || $stage -eq 1 ]] || run_alone_in "$data" local/data.sh "${data_words[@]}" "$data"
  need "$data/train/utt2dur" 1
  local hours shown
  shown=$(awk '{ s += $2 / 3600 } END { printf (s < 10 ? "%.2f" : "%d"), s }' "$data/train/utt2dur")
  hours=${shown%.*}
  if [[ $size == auto && $hours -lt 10 ]]; then size=small; fi
  if [[ -n $base ]]; then
    echo "base: $base"
    return
  fi
  if [[ $size == small ]]; then
    hparams_suffix=_small
  else
    hparams_suffix=_conformer update_batches=4
    if [[ $hours -lt 50 ]]; then
      update_batches=1 recipe_words=(--num_epochs 200 --warmup 2000)
    elif [[ $hours -lt 200 ]]; then
      update_batches=2 recipe_words=(--num_epochs 120 --warmup 5000)
    fi
  fi
  echo "base: ../common/hparams/${hparams_suffix#_}.yaml, for $shown h of speech; --size or --base takes another"
}
