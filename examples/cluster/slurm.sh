#!/usr/bin/env bash
# One run on several machines under SLURM: the first TRAIN_NODES train, each of the others serves one model per GPU.
#
#   sbatch examples/cluster/slurm.sh oapl_math [KEY=VALUE]...
#
# Submitted again, it goes on from the last checkpoint. FOLDER is on a disk that all machines see.
#SBATCH --job-name=llm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail

config="${1:?is missing: a configuration}"
: "${FOLDER:=$PWD/runs/$config}" "${TRAIN_NODES:=1}" "${GPUS:=8}" "${PORT:=29500}" "${MODEL:=}"
: "${MODEL:?is not set: the model that the servers load, the same as model.path}"
mkdir -p "$FOLDER"
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
trainers=("${hosts[@]:0:TRAIN_NODES}") samplers=("${hosts[@]:TRAIN_NODES}")
((${#samplers[@]})) || { echo "TRAIN_NODES is $TRAIN_NODES; of ${#hosts[@]} machines none is left to sample" >&2; exit 2; }

for host in "${samplers[@]}"; do
  for ((gpu = 0; gpu < GPUS; gpu++)); do echo "http://$host:$((8000 + gpu))"; done
done >"$FOLDER/servers"

srun --nodes="${#samplers[@]}" --nodelist="$(IFS=,; echo "${samplers[*]}")" bash -c '
  for ((gpu = 0; gpu < '"$GPUS"'; gpu++)); do
    CUDA_VISIBLE_DEVICES=$gpu VLLM_SERVER_DEV_MODE=1 vllm serve '"$MODEL"' --port $((8000 + gpu)) --dtype bfloat16 \
      --load-format safetensors --logprobs-mode processed_logprobs --generation-config vllm &
  done
  wait' &
servers=$!

resume=()
[ -e "$FOLDER/run/config.toml" ] && resume=(--resume)
srun --nodes="${#trainers[@]}" --nodelist="$(IFS=,; echo "${trainers[*]}")" \
  torchrun --nnodes "${#trainers[@]}" --nproc-per-node "$GPUS" --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-endpoint "${trainers[0]}:$PORT" -m llm train "$config" --out "$FOLDER/run" "${resume[@]}" \
  "rollout.options={}" "rollout.servers=$FOLDER/servers" "rollout.weights=$FOLDER/weights" "${@:2}" &
training=$!

trap 'kill -TERM "$training"' TERM # two minutes before the time is over: a checkpoint is written
status=0
wait "$training" || status=$?
wait "$training" || true # after the trap
kill "$servers" 2>/dev/null || true
exit "$status"
