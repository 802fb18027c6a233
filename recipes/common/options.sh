# shellcheck shell=bash disable=SC2034,SC2154  # asr.sh and words.sh read and set these
# The options of asr.sh with their defaults, and what --help says of them. To be sourced.

# ---- what every user may set
stage=1
stop_stage=10
systems="static ld dld"
test_sets="test"
train_args=
decode_args=
report_args=
lm=
base=
restart=false
finish=false
data=data
exp=exp
device=
ngpu=1
nnodes=1
node_rank=0
master=
launcher=local
slurm=
nj=1
# ---- what recipes set
recipe_help=
train_sets=train
dev_set=dev
data_options=
lm_options=
hparams_suffix=
paths_start="in this folder"
update_batches=
settings=

help_message() {
  cat <<END
Usage: ./run.sh [options]; relative paths start $paths_start
  --stage N, --stop-stage N   first and last stage to run ($stage, $stop_stage):
      1 corpus   2 validate   3 tokenizer   4 teacher   5 LD baseline   6 dynamic students
      7 gate tables   8 decode   9 score   10 report
$recipe_help
  --systems 'A B'     systems to train and compare, by the names of their files in hparams or
                      ../common/hparams/systems ($systems)
  --test-sets 'A B'   what is decoded and scored ($test_sets)
  --train-args 'ARGS' settings for stages 3 to 6, as '--lr 5e-4 --num_epochs 20'
  --decode-args 'ARGS'   options of dld decode for stage 8, as '--depths 1,2,3 --policy first-n'
  --report-args 'ARGS'   options of dld report for stage 10, as '--baseline ld'
  --lm WHAT           decode with a language model too, its weights tuned on dev in stage 7: train (a 3-gram of the
                      training text), corpus (what LibriSpeech and TED-LIUM 3 come with) or an ARPA file (none)
  --base FILE         experiment file that systems extend, instead of the recipe's own
  --restart BOOL      train again from scratch where there is a run already ($restart)
  --finish BOOL       train no further: make models of the checkpoints of runs that were stopped ($finish)
  --data DIR, --exp DIR   folders for data and experiments ($data, $exp)
  --device NAME       cpu or cuda (${device:-cuda where there is one})
  --ngpu N            GPUs to train, search gates and decode on, or processes with --device cpu, through torchrun ($ngpu)
  --nnodes N          machines that train together, each with --ngpu GPUs and the same folders, through torchrun; run
                      stages 1 to 3 on one of them, then stages 4 to 6 on each of them at the same time ($nnodes)
  --node-rank N       which of them this one is, from 0 ($node_rank)
  --master HOST:PORT  address of machine 0, with a free port of it (none)
  --launcher NAME     local: train on this machine; slurm: as jobs of SLURM, on --nnodes machines with --ngpu GPUs or
                      processes each; the other stages run on this machine all the same ($launcher)
  --slurm 'WORDS'     options of sbatch for --launcher slurm, as 'partition=gpu time=24:00:00 account=me'
  --nj N              gate tables searched at a time; more than 1 also trains an LD baseline that is started
                      from scratch next to the teacher ($nj)
END
}
check_nodes() {
  [[ $stage -ge 4 && $stop_stage -le 6 ]] ||
    wrong_option "several machines (--nnodes) train, in stages 4 to 6; run the others on one of them"
  [[ $node_rank -lt $nnodes ]] || wrong_option "--node-rank is $node_rank; of $nnodes machines the last is $((nnodes - 1))"
  [[ $master =~ ^[^:]+:[0-9]+$ ]] || wrong_option "--master takes HOST:PORT of machine 0, not '$master'"
}

# What recipes and users set, split into words and names, and checked.
read_options() {
  option_number --stage "$stage"
  option_number --stop-stage "$stop_stage"
  [[ $stage -le 10 && $stage -le $stop_stage ]] ||
    wrong_option "no stage from $stage (--stage) to $stop_stage (--stop-stage); there are 1 to 10"
  option_number --ngpu "$ngpu"
  option_number --nnodes "$nnodes"
  option_number --node-rank "$node_rank"
  [[ $launcher == local || $launcher == slurm ]] || wrong_option "--launcher is local or slurm, not '$launcher'"
  [[ -z $slurm || $launcher == slurm ]] || wrong_option "--slurm has options of sbatch, which --launcher slurm calls; give that too"
  if [[ $nnodes -gt 1 && $launcher == local ]]; then check_nodes; fi
  option_number --nj "$nj"
  option_names system_names --systems "$systems"
  option_names test_names --test-sets "$test_sets"
  option_names train_names --train-sets "$train_sets"
  option_names dev_names --dev-set "$dev_set"
  option_words data_words --data-options "$data_options"
  option_words lm_words --lm-options "$lm_options"
  option_words recipe_words --settings "$settings"
  option_words train_words --train-args "$train_args"
  option_of_driver "${train_words[@]}"
  option_words decode_words --decode-args "$decode_args"
  option_words report_words --report-args "$report_args"
}
