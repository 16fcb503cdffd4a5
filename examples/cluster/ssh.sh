#!/usr/bin/env bash
# One run on two machines by ssh: the first trains on all its GPUs, the second serves one model per GPU.
#
#   TRAINER=10.0.0.1 SAMPLER=10.0.0.2 MODEL=Qwen/Qwen3-4B-Thinking-2507 examples/cluster/ssh.sh oapl_math [KEY=VALUE]...
#
# With DRY_RUN=1 it only prints what it would start. The checkout, FOLDER and the environment stand at the same paths on
# both. Started again, the run goes on from its last checkpoint.
set -euo pipefail

config="${1:?is missing: a configuration}"
: "${TRAINER:?is not set: the machine that trains}" "${SAMPLER:?is not set: the machine that samples}"
: "${MODEL:?is not set: the model that the servers load, the same as model.path}"
: "${CHECKOUT:=$PWD}" "${FOLDER:=$PWD/runs/$config}" "${GPUS:=8}" "${DRY_RUN:=}"

on() { # MACHINE COMMAND
  if [ -n "$DRY_RUN" ]; then echo "ssh $1 $2"; else ssh -o BatchMode=yes "$1" "$2"; fi
}

on "$TRAINER" "mkdir -p $FOLDER"
for ((gpu = 0; gpu < GPUS; gpu++)); do
  port=$((8000 + gpu))
  on "$SAMPLER" "cd $CHECKOUT && CUDA_VISIBLE_DEVICES=$gpu VLLM_SERVER_DEV_MODE=1 nohup vllm serve $MODEL --port $port \
--dtype bfloat16 --load-format safetensors --logprobs-mode processed_logprobs --generation-config vllm \
>$FOLDER/server-$gpu.log 2>&1 </dev/null &"
  on "$TRAINER" "echo http://$SAMPLER:$port >>$FOLDER/servers.new"
done
on "$TRAINER" "mv $FOLDER/servers.new $FOLDER/servers"
status=0
on "$TRAINER" "cd $CHECKOUT && torchrun --nproc-per-node $GPUS -m llm train $config --out $FOLDER/run \
\$([ -e $FOLDER/run/config.toml ] && echo --resume) rollout.options={} rollout.servers=$FOLDER/servers \
rollout.weights=$FOLDER/weights ${*:2}" || status=$?
on "$SAMPLER" "pkill -f 'vllm serve $MODEL' || true"
exit "$status"
