# shellcheck shell=bash disable=SC2034,SC2154  # asr.sh sets and reads these
# The steps of asr.sh: what each stage calls, and what it needs.

ld_is_trained=false

begin_stage() {
  is_asked_for "$1" || return 1
  echo "== stage $1: $2 (${SECONDS} s)"
}

has_system() {
  [[ " ${system_names[*]} " == *" $1 "* ]]
}

# hparams_of SYSTEM: leaves in hparams the files of its experiment, a base and a system. A file of the recipe's own in hparams/
# comes before the shared one, and --base before both. Where the recipe has several models, their names end those of their files: hparams_suffix.
hparams_of() {
  local own=hparams/$1$hparams_suffix.yaml
  hparams=("hparams/base$hparams_suffix.yaml" "../common/hparams/systems/$1.yaml")
  if [[ ! -e ${hparams[0]} && -n $hparams_suffix ]]; then hparams[0]=../common/hparams/${hparams_suffix#_}.yaml; fi
  if [[ -n ${base:-} ]]; then hparams[0]=$base; fi
  if [[ -e $own ]]; then hparams[1]=$own; fi
  [[ -e ${hparams[1]} ]] || fail "there is no system '$1': neither $own nor ${hparams[1]}"
}

# setting_of SYSTEM KEY: a value of its settings.
setting_of() {
  hparams_of "$1"
  python -m dld.bin.config "${hparams[@]}" --get "$2" --data "$data" --exp "$exp" "${setting_words[@]}"
}

gpus_of_machine() { echo $((ngpu > 1 ? ngpu : 1)); }

# Leaves in launch what starts a module here: as many processes as --ngpu says, each on the GPU of its own rank.
make_launch() {
  launch=(python -m)
  if [[ $launcher == local && $ngpu -gt 1 ]]; then launch=(torchrun --standalone "--nproc-per-node=$ngpu" -m); fi
}

# Leaves the command that trains a system in train_command.
make_train_command() {
  local launch args=() together=$(($(gpus_of_machine) * nnodes))
  make_launch
  if [[ $launcher == slurm ]]; then
    local each=gpus-per-node
    if [[ $device == cpu ]]; then each=ntasks-per-node; fi
    args=(--launcher slurm --slurm "nodes=$nnodes $each=$(gpus_of_machine)${slurm:+ $slurm}")
  elif [[ $nnodes -gt 1 ]]; then
    launch=(torchrun "--nnodes=$nnodes" "--node-rank=$node_rank" "--nproc-per-node=$(gpus_of_machine)")
    launch+=("--master-addr=${master%:*}" "--master-port=${master##*:}" -m)
  fi
  if [[ $restart == true ]]; then args+=(--restart true); fi
  if [[ $finish == true ]]; then args+=(--finish true); fi
  if [[ $device == cpu || (-n $device && $together -le 1 && $launcher == local) ]]; then args+=(--device "$device"); fi
  if [[ $device == cpu && $together -gt 1 ]]; then args+=(--distributed-backend gloo); fi
  hparams_of "$1"
  # The folder has the name that the user gave, whatever name the file gives the system.
  args+=(--data "$data" --exp "$exp" --exp_dir "$exp/$1")
  train_command=("${launch[@]}" dld.bin.train "${hparams[@]}" "${args[@]}" "${setting_words[@]}")
}

train() {
  need_training_data
  make_train_command "$1"
  run "${train_command[@]}"
}

# The static network; and the LD baseline next to it, where that needs no teacher and --nj allows it.
train_first() {
  if [[ $nj -le 1 || $nnodes -gt 1 || $stop_stage -lt 5 ]] || ! has_system ld || [[ $(setting_of ld init_from) != null ]]; then
    train static
    return
  fi
  need_training_data
  echo "the LD baseline of stage 5 trains at the same time"
  make_train_command static
  local words=(--- train_static "${train_command[@]}")
  make_train_command ld
  run python -m dld.comparison.side_by_side "$nj" "$exp/log" "${words[@]}" --- train_ld "${train_command[@]}"
  ld_is_trained=true
}

# fit_to_machine BATCHES: for recipes of the paper's size. Takes the GPU where there is one and no device was chosen, full
# precision without a GPU, and BATCHES batches for each update, split among the GPUs of all machines; leaves the settings in fitted.
fit_to_machine() {
  local gpus=$(($(gpus_of_machine) * nnodes))
  # What machine a job runs on is not known here.
  if [[ -z $device && $launcher == local ]]; then
    device=$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')
  fi
  fitted=(--grad_accumulation_factor "$((($1 + gpus - 1) / gpus))")
  if [[ $device == cpu ]]; then fitted+=(--precision fp32); fi
}

# Where the gates are no choice, as in a static network, there is nothing to search. What the network was trained with says
# so; its experiment file may have changed since.
search_tables() {
  local system policy launch words=()
  make_launch
  for system in "${system_names[@]}"; do
    if [[ -e $exp/$system/hyperparams.yaml ]]; then
      policy=$(python -m dld.bin.config "$exp/$system/hyperparams.yaml" --get decode_policy)
    else
      policy=$(setting_of "$system" decode_policy)
    fi
    [[ $policy == table ]] || continue
    need_model "$system"
    words+=(--- "gate_table_$system" "${launch[@]}" dld.bin.gate_table --exp "$exp/$system" --data "$data/$dev_set")
    words+=(${device:+--device "$device"})
  done
  [[ ${#words[@]} -eq 0 ]] || run python -m dld.comparison.side_by_side "$nj" "$exp/log" "${words[@]}"
}

# The confidences of words at every depth; after the gate tables, whose vectors they are calibrated for.
calibrate() {
  local system words=()
  for system in "${system_names[@]}"; do
    need_model "$system"
    words+=(--- "calibrate_$system" python -m dld.bin.calibrate --exp "$exp/$system" --data "$data/$dev_set")
    words+=(${device:+--device "$device"})
  done
  run python -m dld.comparison.side_by_side "$nj" "$exp/log" "${words[@]}"
}

# decode SYSTEM SET: without a language model, and with one.
decode() {
  local launch command
  make_launch
  command=("${launch[@]}" dld.bin.decode --exp "$exp/$1" --data "$data/$2")
  need_model "$1"
  need "$data/$2/text" 1
  run "${command[@]}" ${device:+--device "$device"} "${decode_words[@]}"
  [[ -n $lm ]] || return 0
  need "$exp/$1/lm_weights.json" 7
  run "${command[@]}" --lm "$lm_file" ${device:+--device "$device"} "${decode_words[@]}"
}
