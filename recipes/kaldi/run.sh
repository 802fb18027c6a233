#!/usr/bin/env bash
# Kaldi: your own Kaldi data directories, from these alone to the depth–WER table.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "run.sh: error: bash 4.4 or newer is needed; run it with bash: ./run.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail
# A link to it in another folder runs it here.
_self=${BASH_SOURCE[0]}
[[ -e $(dirname "$_self")/../common/asr.sh ]] || _self=$(readlink -f "$_self")
_here=$(cd "$(dirname "$_self")" && pwd)
# Relative paths start where the user is, and the top-level run.sh says where that was.
cd "${DLD_CALLED_FROM:-.}"
_from=$PWD

passed_on=()
train=
dev=
test=
audio_root=.
size=auto
base=
data=
exp=
lm=
. "$_here/../common/parse_options.sh"
cd "$_here"
. ../common/words.sh

recipe_help="  --train DIR         Kaldi data directory to train on; wav.scp, text and utt2spk are enough
  --dev DIR           the same for validation, checkpoint choice and gates (a part of train, with speakers of its own)
  --test 'DIR DIR'    the same to decode and score, named as the directories are (dev)
  --audio-root DIR    where relative paths in wav.scp start (the folder that you call from)
  --size NAME         small, for less than about 10 h; large, a Conformer of the paper's size; auto: by the hours ($size)"
case $size in auto | small | large) ;; *) wrong_option "--size takes small, large or auto, not '$size'" ;; esac

# absolute PATH: prints it, relative paths as seen from where the user is; nothing stays nothing.
absolute() {
  case $1 in '' | /*) printf %s "$1" ;; *) printf %s "$_from/$1" ;; esac
}
option_words _tests --test "$test"
_test_words=() _names=
# shellcheck disable=SC2154  # option_words sets it
for _dir in "${_tests[@]}"; do
  _test_words+=("$(absolute "$_dir")")
  _names+=" $(quoted "$(basename "$_dir")")"
done
[[ -z $_names ]] || option_names _tests --test "$_names"
for _i in "${!passed_on[@]}"; do
  if [[ ${passed_on[_i]} == --config ]]; then passed_on[_i + 1]=$(absolute "${passed_on[_i + 1]}"); fi
done
data=$(absolute "$data") exp=$(absolute "$exp")
case $lm in '' | train | corpus) ;; *) lm=$(absolute "$lm") ;; esac
: "${data:=$_here/data}" "${exp:=$_here/exp}"
# Later stages need not be told what stage 1 took.
if [[ -z $_names && -z $train && -e $data/test_sets ]]; then _names=$(<"$data/test_sets"); fi

. local/after_data.sh
. ../common/asr.sh \
  --recipe-help "$recipe_help" --paths-start "where you call this" \
  --data "$data" --exp "$exp" --lm "$lm" --base "$(absolute "$base")" \
  --test-sets "${_names:-dev}" \
  --data-options "$(quoted --train "$(absolute "$train")" --dev "$(absolute "$dev")" --test "$(quoted "${_test_words[@]}")" \
    --audio-root "$(absolute "$audio_root")")" \
  "${passed_on[@]}" "$@"
