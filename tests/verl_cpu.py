"""verl 0.9.1 without an accelerator: a platform named "cpu", and a rollout that samples with llm's own engine.

Named in VERL_USE_EXTERNAL_MODULES, so that every process of a run has it. Everything else of a run is verl's own. What
the engines answered and what the workers trained on is written to the folder VERL_CPU_RECORD, as JSON lines; weights
of every sync as safetensors.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
import verl.models.transformers.monkey_patch as monkey_patch
import verl.utils.distributed as distributed
import verl.utils.import_utils as import_utils
from safetensors.torch import save_file
from verl.plugin.platform import PlatformBase, PlatformRegistry, set_platform

NAME = "llm_cpu"


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Processes with gloo between them. Ray is told that it has GPUs, which are only counted."""

    device_name = "cpu"
    vendor_name = "none"
    device_module = torch.cpu

    def is_available(self):
        return True

    def current_device(self):
        return torch.device("cpu")

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg):
        yield

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def ray_resource_name(self):
        return "GPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None


set_platform(PlatformCPU())

# torch.cpu lacks what verl asks of an accelerator.
for name, value in {
    "empty_cache": lambda: None,
    "set_device": lambda index: None,
    "memory_allocated": lambda *_: 0,
    "memory_reserved": lambda *_: 0,
    "max_memory_allocated": lambda *_: 0,
    "max_memory_reserved": lambda *_: 0,
    "mem_get_info": lambda *_: (0, 0),
    "manual_seed": torch.manual_seed,
}.items():
    if not hasattr(torch.cpu, name):
        setattr(torch.cpu, name, value)

_initialize = distributed.initialize_global_process_group_ray


def _over_gloo(timeout_second=None, backend=None):
    return _initialize(timeout_second, backend or "gloo")  # torch refuses "cpu:gloo,cpu:gloo"


distributed.initialize_global_process_group_ray = _over_gloo

# TRL beside verl is newer than verl knows; its value head is not used here.
import_utils.is_trl_available = lambda: False
if hasattr(monkey_patch, "is_trl_available"):
    monkey_patch.is_trl_available = lambda: False

from verl.workers.engine import EngineRegistry  # noqa: E402
from verl.workers.engine.fsdp import FSDPEngineWithLMHead  # noqa: E402
from verl.workers.rollout import base  # noqa: E402
from verl.workers.rollout.base import BaseRollout  # noqa: E402
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput  # noqa: E402


def record(file, line):
    """Add a line to a file of the folder of records, if there is one."""
    if folder := os.environ.get("VERL_CPU_RECORD"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / file).open("a") as out:
            out.write(json.dumps(line) + "\n")


@EngineRegistry.register(model_type="language_model", backend=["fsdp", "fsdp2"], device="cpu")
class Recorded(FSDPEngineWithLMHead):
    """verl's engine; it also writes down what each optimizer step was made from, and its norm."""

    def train_batch(self, data, loss_function):
        ids = [row.tolist() for row in data["input_ids"].unbind()]
        sizes = [int(row.sum()) for row in data["response_mask"].unbind()]
        output = super().train_batch(data, loss_function)
        rows = [[row[: len(row) - size], row[len(row) - size :]] for row, size in zip(ids, sizes, strict=True)]
        rank = torch.distributed.get_rank()
        record(f"steps-{rank}.jsonl", {"rows": rows, "norm": float(output["metrics"]["grad_norm"])})
        return output


class Server:
    """One engine of llm, which answers what has come in since its last answer."""

    def __init__(self, path, prompt, response, temperature, stop, seed):
        from llm.sample.engines.base import Settings
        from llm.sample.engines.local import LocalEngine

        torch.set_num_threads(1)
        settings = Settings("transformers", path, temperature, response, prompt + response, tuple(stop))
        self._engine = LocalEngine(settings)
        self._waiting, self._busy, self._steps, self._count = [], None, None, 0
        self._seed, self._response = seed, response

    async def generate(self, request_id, prompt_ids, sampling_params, **_):
        from llm.samples import Request

        future = asyncio.get_running_loop().create_future()
        self._count += 1
        request = Request(tuple(prompt_ids), 1, self._seed * 1_000_003 + self._count, self._response)
        self._waiting.append((request, future))
        if self._busy is None:
            self._busy = asyncio.ensure_future(self._work())
        sample = await future
        return TokenOutput(
            token_ids=sample.tokens.tolist(),
            log_probs=sample.log_probs.tolist(),
            stop_reason="completed",
            extra_fields={"global_steps": self._steps},
        )

    async def _work(self):
        try:
            while self._waiting:
                await asyncio.sleep(0.02)
                batch, self._waiting = self._waiting, []
                answers = await asyncio.to_thread(self._engine.generate, [request for request, _ in batch])
                for (request, future), (sample,) in zip(batch, answers, strict=True):
                    line = [request.tokens, sample.tokens.tolist(), sample.log_probs.tolist(), sample.finished]
                    record(f"answers-{self._seed}.jsonl", [self._steps, *line])
                    future.set_result(sample)
        finally:
            self._busy = None

    async def update(self, weights, steps):
        tensors = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        if folder := os.environ.get("VERL_CPU_RECORD"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            save_file(tensors, f"{folder}/weights-{self._seed}-{steps}.safetensors")
        self._engine.sync(tensors, steps or 0)
        self._steps = steps

    async def wake_up(self, tags=None):
        pass

    async def sleep(self):
        pass

    async def clear_kv_cache(self):
        pass

    async def abort_all_requests(self, reject_request=False):
        pass

    async def resume_generation(self):
        pass

    async def release_kv_cache(self):
        pass

    async def resume_kv_cache(self):
        pass


class Replica(RolloutReplica):
    """Starts the server of one replica."""

    async def launch_servers(self):
        from verl.utils.config import omega_conf_to_dataclass

        model = omega_conf_to_dataclass(self.model_config)
        name = f"{NAME}_server_{self.replica_rank}_0"
        options = ray.remote(Server).options(name=name, max_concurrency=1000, num_cpus=0)
        server = options.remote(
            model.local_path,
            self.config.prompt_length,
            self.config.response_length,
            self.config.temperature,
            [model.tokenizer.eos_token_id],
            self.replica_rank + 1,
        )
        self.servers = [server]
        self._server_handle, self._server_address = server, f"{NAME}_{self.replica_rank}"


class Adapter(BaseRollout):
    """In the trainer's process: hands the weights to its replica's server."""

    def __init__(self, config, model_config, device_mesh, replica_rank=-1):
        super().__init__(config, model_config, device_mesh)
        self.rank = int(os.environ["RANK"]) if replica_rank == -1 else replica_rank
        self._server: Any = None

    async def resume(self, tags):
        pass

    async def release(self):
        pass

    async def update_weights(self, weights, global_steps=None, wire_format="named_tensors", **_):
        found = {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in weights}
        found.setdefault("lm_head.weight", found["model.embed_tokens.weight"])
        if self._server is None:
            self._server = ray.get_actor(f"{NAME}_server_{self.rank}_0")
        await self._server.update.remote(found, global_steps)


RolloutReplicaRegistry.register(NAME, lambda: Replica)
base._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.Adapter"
