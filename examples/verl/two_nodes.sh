#!/usr/bin/env bash
# Joins two machines by Ray and trains on both. pessimism and verl must be installed on each, at the same versions.
#
#   HEAD_ADDRESS=10.0.0.1 ./two_nodes.sh head      # on the machine with that address
#   HEAD_ADDRESS=10.0.0.1 ./two_nodes.sh worker    # on the other one
#   HEAD_ADDRESS=10.0.0.1 ./two_nodes.sh train     # on the first one again; more verl overrides may follow
set -euo pipefail
: "${HEAD_ADDRESS:?is not set: the address of the first machine, as the other one sees it}"
configs="$(cd "$(dirname "$0")" && pwd)"

case "${1:-}" in
  head) ray start --head --node-ip-address="$HEAD_ADDRESS" --port=6379 ;;
  worker) ray start --address="$HEAD_ADDRESS:6379" ;;
  train)
    # The driver finds the cluster by this address; workers get what ray_kwargs in the config says.
    RAY_ADDRESS="$HEAD_ADDRESS:6379" \
      python -m verl.trainer.main_ppo --config-path "$configs" --config-name two_nodes "${@:2}"
    ;;
  *)
    echo "usage: HEAD_ADDRESS=... $0 head|worker|train [verl overrides]" >&2
    exit 2
    ;;
esac
