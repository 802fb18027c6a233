#!/usr/bin/env bash
# Score a decode directory as Kaldi's local/score.sh does.
case ${BASH_VERSION:-} in '' | [1-3].* | 4.[0-3].*) echo "score.sh: error: bash 4.4 or newer is needed; run it with bash: local/score.sh" >&2 && exit 1 ;; esac
set +o posix
unset CDPATH POSIXLY_CORRECT
set -euo pipefail

stage=1
stop_stage=2
# shellcheck disable=SC2034  # part of Kaldi's contract
cmd=
sclite=false
all=false
cer=true
lmwt=
wip=
replicates=10000
ref_filter=
hyp_filter=
help_message="Usage: ${BASH_SOURCE[0]##*/} [options] <data-dir> <lang-dir> <decode-dir>

Compares <decode-dir>/text with <data-dir>/text and leaves wer_*, cer_* and scoring_kaldi/ in <decode-dir>.
<lang-dir> is there for Kaldi's sake and is not read: references and hypotheses are words.

  --stage N          1: words; 2: characters (default: $stage)
  --stop-stage N     last stage to run (default: $stop_stage)
  --cer true|false   score characters too (default: $cer)
  --lmwt N --wip X   language-model weight and insertion penalty of this decode, for the names wer_<lmwt>_<wip>
                     (default: what decode.json says, 0 and 0.0 without a language model)
  --replicates N     draws of the bootstrap interval (default: $replicates)
  --ref-filter CMD   filter over the reference's lines (default: local/wer_ref_filter or local/wer_output_filter)
  --hyp-filter CMD   filter over the hypotheses' lines (default: local/wer_hyp_filter or local/wer_output_filter)
  --all true         the third argument is an experiment: score all decodes of <data-dir> in it (default: $all)
  --sclite true      run NIST sclite instead, against <data-dir>/stm (and glm) where there is one;
                     its reports are kept in <decode-dir>/scoring_sclite (default: $sclite)
  --cmd CMD          accepted as in Kaldi; scoring is one short process and runs here"

# shellcheck source=/dev/null
if [ -f ./path.sh ]; then . ./path.sh; fi
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"

if [ $# -ne 3 ]; then
  echo "$help_message" >&2
  exit 1
fi
data_dir=$1
decode_dir=$3

for side in ref hyp; do
  for hook in output_filter "${side}_filter"; do
    if [ -x "local/wer_$hook" ]; then declare "${side}_default=local/wer_$hook"; fi
  done
done

inputs=(--ref "$data_dir/text" --hyp "$decode_dir/text")
if [ "$all" = true ]; then inputs=(--data "$data_dir" --exp "$decode_dir"); fi
inputs+=(--ref-filter "${ref_filter:-${ref_default:-}}" --hyp-filter "${hyp_filter:-${hyp_default:-}}")
if [ "$sclite" = true ]; then exec python3 -m dld.bin.score "${inputs[@]}" --sclite true; fi

units=()
if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then units+=(word); fi
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ] && [ "$cer" = true ]; then units+=(char); fi
if [ ${#units[@]} -eq 0 ]; then
  echo "${0##*/}: nothing to do for --stage $stage --stop-stage $stop_stage --cer $cer" >&2
  exit 0
fi
exec python3 -m dld.bin.score "${inputs[@]}" --utt2spk "$data_dir/utt2spk" \
  ${lmwt:+--lmwt "$lmwt"} ${wip:+--wip "$wip"} --replicates "$replicates" --units "${units[@]}"
