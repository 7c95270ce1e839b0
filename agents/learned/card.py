"""`card.md`: what a trained model is, what it was made from, and how to use it."""

from collections.abc import Mapping
from typing import NamedTuple

from agents.learned.checkpoint import Progress
from agents.learned.clone import CloneReport
from agents.learned.settings import TrainConfig
from contract.version import CONTRACT_VERSION, Contract


class Story(NamedTuple):
    """What happened in training."""

    steps: int  # environment steps learned from
    progress: Progress


def _start(config: TrainConfig, clone: CloneReport | None) -> str:
    if config.clone is None or clone is None:
        return "It started from random weights."
    return (
        f"It started as a clone of `{config.clone.baseline}`: {clone.steps:,} environment steps in "
        f"{config.clone.rounds} rounds; on steps held out, its actions differ from the rule's by "
        f"{clone.error:.3f} (root mean square, in a range of -1 to 1; before: "
        f"{clone.error_before:.3f}; the rule's own spread: {clone.spread:.3f})."
    )


def _scores(progress: Progress) -> str:
    if not progress.recent:
        return "No iteration was made."
    last = sum(progress.recent) / len(progress.recent)
    return (
        f"Mean progress over the last {len(progress.recent)} rollouts: {last:.4f}. That is a mean "
        "under exploring actions on training hosts, no evaluation."
    )


def card(config: TrainConfig, contract: Contract, story: Story, versions: Mapping[str, str]) -> str:
    """The text of a model's card (Markdown)."""
    environment = config.environment
    decoding = contract.decoding
    scenarios = ", ".join(f"`{name}`" for name in environment.scenarios)
    versions_table = "\n".join(f"| {name} | {version} |" for name, version in versions.items())
    return f"""# {config.name}

A memory resizing policy for a host of virtual machines, trained with PPO. Every
{contract.period_s:g} s it reads the host's and the guests' statistics and sets each guest's size.

## Training

- Hosts: {environment.hosts} at a time, scenarios {scenarios}, episodes of
  {environment.episode_steps} steps, seed {config.seed}.
- Learning: {story.steps:,} environment steps, {config.iterations} iterations; the model is from
  the last one.
- {_start(config, story.progress.clone)}
- {_scores(story.progress)}
- Actions: mode `{decoding.mode}`, targets in steps of {decoding.target_quantum_bytes >> 10} KiB,
  guard level `{contract.guard.level}`.
- Contract: version {CONTRACT_VERSION}, digest `{contract.digest}`. It runs only with code of the
  same digest.

`config.yaml` beside this file repeats the run:
`python train.py config.yaml --name another`.

## Use

Compare it with other policies:

    python evaluate.py configs/evaluate/demo.yaml --policies static,slides,runs/{config.name}

In Python, needing numpy and onnxruntime alone:

    from agents.onnx_policy import OnnxPolicy

    policy = OnnxPolicy("runs/{config.name}")
    state = policy.reset(hosts=1, guests=8)
    decision, state, wake_at_s = policy.decide(telemetry, state)  # contract.telemetry

`model.onnx` takes `guests` (hosts, guests, features), `host` (hosts, features) and `present`
(hosts, guests), and gives `action` (hosts, guests) in [-1, 1]; `contract.json` lists the features.

## Versions

| | |
|---|---|
{versions_table}
"""
