"""What a configuration is said to be has the gradient of the trainer's own loss with that configuration."""

from pathlib import Path

import pytest

from pessimism.lint import READERS
from pessimism.trainers.document import Document, read_document
from pessimism.trainers.keys import known_keys
from pessimism.trainers.trinity.config import TYPES
from scripts import trainer_keys


def identified(trainer: str, values: dict):
    found = READERS[trainer](Document("run.yaml", values)).objective
    assert found.unknown == ""
    assert found.algorithm is not None
    return found.algorithm


@pytest.mark.parametrize(
    ("given", "widest"),
    [
        ({"loss_type": "grpo"}, 2.0),
        ({"loss_type": "bnpo", "epsilon": 0.1}, 2.0),
        ({"loss_type": "dapo", "epsilon_high": 0.28}, 2.0),
        ({"loss_type": "dr_grpo", "scale_rewards": "none"}, 2.0),
        ({"loss_type": "dapo", "delta": 1.5}, 2.0),
        ({"loss_type": "dapo", "importance_sampling_level": "sequence", "epsilon": 0.05}, 2.0),
        ({"loss_type": "cispo"}, 2.0),
        ({"loss_type": "cispo", "epsilon_high": 5.0}, 2.0),
        ({"loss_type": "sapo", "sapo_temperature_neg": 1.5}, 0.8),
        ({"loss_type": "vespo", "vespo_k_pos": 1.5}, 0.8),
    ],
    ids=str,
)
def test_trl(given, widest):
    peers = pytest.importorskip("test_adapters_trl")
    data = peers.draws(widest=widest)
    peers.check_agreement(peers.own(data, **given), identified("trl", given), data)


@pytest.mark.parametrize(
    ("mode", "given", "policy_loss"),
    [
        ("vanilla", {}, {}),
        ("vanilla", {"clip_ratio": 0.5}, {}),
        ("vanilla", {"clip_ratio_low": 0.1, "clip_ratio_high": 0.4, "clip_ratio_c": 2.0}, {}),
        ("cispo", {"clip_ratio_high": 0.4}, {}),
        ("cispo", {"clip_ratio_low": 10.0}, {}),
        ("gspo", {"clip_ratio_low": 0.02, "clip_ratio_high": 0.03}, {}),
        ("gpg", {}, {}),
        ("dro", {}, {"dro_beta": 0.3}),
    ],
    ids=str,
)
def test_verl(mode, given, policy_loss):
    peers = pytest.importorskip("test_adapters_verl")
    actor = {**given, "policy_loss": {"loss_mode": mode, **policy_loss}}
    values = {"algorithm": {"adv_estimator": "grpo"}, "actor_rollout_ref": {"actor": actor}}
    data = peers.draws()
    chosen = {**given, "policy_loss": peers.settings.PolicyLossConfig(**policy_loss)} if policy_loss else given
    peers.check_agreement(peers.own(mode, data, **chosen), identified("verl", values), data)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("grpo", {"clip_range": 0.2}),
        ("grpo", {"clip_range_low": 0.1, "clip_range_high": 0.3, "clip_ratio_c": 2.0}),
        ("topr", {}),
        ("cispo", {}),
        ("cispo", {"clip_range_low": 0.3}),
        ("cispo", {"clip_range_high": 0.5}),
        ("cispo", {"enable_mask_clip": True}),
        ("gspo", {"clip_range_low": 0.02, "clip_range_high": 0.03}),
        ("sapo", {"tau_pos": 0.8}),
        ("rec", {}),
        ("rec", {"clip_mode": "one-side"}),
        ("rec", {"clip_mode": "one-side", "weight": "importance_sampling"}),
        ("rec", {"clip_mode": "two-side", "weight": "importance_sampling", "epsilon_high": 0.4}),
        ("rec", {"clip_mode": "ring"}),
        ("rec", {"clip_mode": "ring", "epsilon_low_prime": 0.7, "epsilon_high_prime": 1.0}),
        ("rec", {"weight": "advantage", "temp": 2.0}),
        ("rec", {"regularizer": "k2", "regularizer_coef": 0.2}),
    ],
    ids=str,
)
def test_trinity(kind, arguments):
    peers = pytest.importorskip("test_adapters_trinity")
    given = {"policy_loss_fn_args": arguments} if arguments else {}
    found = identified("trinity", {"algorithm": {"algorithm_type": kind, **given}})
    loss = "ppo" if kind == "grpo" else kind
    defaults = {} if arguments else peers.trinity.POLICY_LOSS_FN.get(loss).default_args()
    defaults.pop("loss_agg_mode", None)
    data = peers.draws()
    peers.check_agreement(peers.own(loss, data, **(arguments or defaults)), found, data)


def told(settings):
    """Everything that rules look at, without where it was read and which releases its keys fit."""
    kept = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    made = kept.pop("objective")
    for name in ("document", "keys", "unresolved", "fit"):
        kept.pop(name)
    return kept | {"entry": made.entry, "parameters": dict(settings.parameters), "remarks": made.remarks}


@pytest.mark.parametrize("name", ["_generated_ppo_trainer.yaml", "_generated_ppo_megatron_trainer.yaml"])
def test_defaults_are_those_of_the_installed_verl(name):
    """verl's whole default configuration reads as an empty one does."""
    verl = pytest.importorskip("verl")
    whole = read_document(Path(verl.__file__).parent / "trainer" / "config" / name)
    assert told(READERS["verl"](whole)) == told(READERS["verl"](Document("empty.yaml", {})))


def test_defaults_are_those_of_the_installed_trinity():
    algorithm = pytest.importorskip("trinity.algorithm")
    known = {kind: algorithm.ALGORITHM_TYPE.get(kind).default_config() for kind in TYPES}
    assert set(algorithm.ALGORITHM_TYPE._default_mapping) == set(TYPES)
    for kind, mine in TYPES.items():
        theirs = known[kind]
        assert mine.loss == theirs["policy_loss_fn"], kind
        assert mine.kl == theirs.get("kl_loss_fn", "k2"), kind
        if mine.advantage:
            assert mine.advantage == theirs["advantage_fn"], kind
            assert mine.group_size == theirs["repeat_times"], kind


def test_names_are_those_of_the_installed_trinity():
    algorithm = pytest.importorskip("trinity.algorithm")
    for name in algorithm.POLICY_LOSS_FN._default_mapping:
        found = READERS["trinity"](Document("x.yaml", {"algorithm": {"policy_loss_fn": name}})).objective
        assert "did you mean" not in found.unknown, name
        assert not found.unknown.startswith("policy_loss_fn is"), name
    for name in algorithm.ADVANTAGE_FN._default_mapping:
        found = READERS["trinity"](Document("x.yaml", {"algorithm": {"advantage_fn": name}})).objective
        assert "advantage_fn is" not in found.unknown, name


def test_names_are_those_of_the_installed_verl():
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    for name in set(core.POLICY_LOSS_REGISTRY) - {"bypass_mode", "pessimism"}:
        values = {"actor_rollout_ref": {"actor": {"policy_loss": {"loss_mode": name}}}}
        assert "loss_mode is" not in READERS["verl"](Document("x.yaml", values)).objective.unknown, name
    for name in {estimator.value for estimator in core.AdvantageEstimator}:
        found = READERS["verl"](Document("x.yaml", {"algorithm": {"adv_estimator": name}})).objective
        assert "adv_estimator is" not in found.unknown, name


@pytest.mark.parametrize(
    ("folder", "package", "installed"),
    [
        ("verl", "verl", trainer_keys.verl_keys),
        ("trinity", "trinity.algorithm", trainer_keys.trinity_keys),
        ("trl", "trl", trainer_keys.trl_keys),
    ],
)
@pytest.mark.filterwarnings("ignore")  # what the packages say of themselves when they are imported
def test_keys_are_those_of_the_installed_trainer(folder, package, installed):
    """Run python -m scripts.trainer_keys where this fails."""
    pytest.importorskip(package)
    assert known_keys(folder) == installed()
