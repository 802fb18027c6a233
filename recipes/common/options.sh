# shellcheck shell=bash disable=SC2034  # the recipe and run_stages read these
# The options that every recipe's run.sh has, with their defaults, and what --help says of them. run.sh sources this first,
# sets what is different there and what only it has, and makes its help_message with the two functions.

stage=1
stop_stage=10
data=data
exp=
train_sets=train
dev_set=dev
test_sets="test"
systems="static ld dld"
train_args=
decode_args=
report_args=
lm=
restart=false
device=
ngpu=1
nj=1

stages_help() {
  cat <<END
  --stage N, --stop-stage N   first and last stage to run ($stage, $stop_stage):
      1 corpus   2 validate   3 tokenizer   4 teacher   5 LD baseline   6 dynamic students
      7 gate tables   8 decode   9 score   10 report
END
}

# options_help EXP: of the shared options; EXP says where the experiments go.
options_help() {
  cat <<END
  --systems 'A B'     systems to train and compare ($systems)
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --decode-args 'ARGS'   options of dld decode for stage 8, as '--depths 1,2,3 --policy first-n'
  --report-args 'ARGS'   options of dld report for stage 10, as '--baseline ld'
  --lm WHAT           decode with a language model too, its weights tuned on dev in stage 7: train (a 3-gram of the
                      training text), corpus (what LibriSpeech and TED-LIUM 3 come with) or an ARPA file (none)
  --restart BOOL      train again from scratch where there is a run already ($restart)
  --data DIR, --exp DIR   folders for data and experiments (${data:-data/HOURS}, $1)
  --device NAME       cpu or cuda (${device:-cuda where there is one})
  --ngpu N            GPUs to train on, through torchrun ($ngpu)
  --nj N              gate tables searched at a time; more than 1 also trains an LD baseline that is started
                      from scratch next to the teacher ($nj)
END
}

no_arguments() {
  if [[ $# -gt 0 ]]; then
    echo "run.sh: error: unexpected argument '$1'; see ./run.sh --help" >&2
    exit 1
  fi
}
