"""OAPL in TRL 1.16, with vLLM on the same GPUs.

``accelerate launch examples/trl/train.py --config examples/trl/oapl.yaml``. Replace the reward function and the data
set by your own; the rest is the objective's published settings.
"""

from datasets import load_dataset
from trl import TrlParser

from pessimism.trainers.trl.adapter import Config, Trainer


def exact(completions: list[str], answer: list[str], **_: object) -> list[float]:
    """1 where a completion ends with the answer."""
    return [float(text.strip().endswith(wanted)) for text, wanted in zip(completions, answer, strict=True)]


def main() -> None:
    """Train as the configuration says."""
    (args,) = TrlParser(Config).parse_args_and_config()
    data = load_dataset("json", data_files={"train": "data/train.jsonl"})["train"]  # columns prompt, answer
    Trainer("Qwen/Qwen3-0.6B", exact, args=args, train_dataset=data).train()


if __name__ == "__main__":
    main()
