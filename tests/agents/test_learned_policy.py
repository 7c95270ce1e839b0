import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import DiagGaussianDistribution

from agents.learned.network import max_of_others, mean_of_others
from agents.learned.policy import GuestSetPolicy
from tests.agents.toy import GUEST_FEATURES, observation_space

SLOTS = 5


def make_policy(slots: int = SLOTS, privileged: bool = False, **options: float) -> GuestSetPolicy:
    torch.manual_seed(1)
    policy = GuestSetPolicy(
        observation_space(slots, privileged),
        spaces.Box(-1.0, 1.0, (slots,)),
        lambda _: 1e-3,
        **options,  # type: ignore[arg-type] # numbers by name
    )
    for parameter in policy.actor.parameters():  # away from the small start, so that errors show
        torch.nn.init.normal_(parameter, std=0.5)
    return policy


def observe(hosts: int, slots: int = SLOTS, privileged: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    seen = {
        "guests": torch.rand(hosts, slots * GUEST_FEATURES, generator=generator) * 2 - 1,
        "host": torch.rand(hosts, 2, generator=generator),
        "present": (torch.rand(hosts, slots, generator=generator) < 0.6).to(torch.int8),
    }
    seen["present"][:, 0] = 1
    seen["present"][-1] = torch.tensor([1] + [0] * (slots - 1))  # a guest with no others
    if privileged:
        seen["privileged"] = torch.rand(hosts, slots, generator=generator)
    return seen


def permuted(seen: dict[str, torch.Tensor], order: torch.Tensor) -> dict[str, torch.Tensor]:
    hosts, slots = seen["present"].shape
    rows = seen["guests"].reshape(hosts, slots, -1)[:, order]
    return seen | {"guests": rows.reshape(hosts, -1), "present": seen["present"][:, order]}


def test_others_pooled_by_hand() -> None:
    rows = torch.tensor([[[0.0, 3.0], [2.0, 3.0], [5.0, 1.0], [9.0, 9.0]]])
    weight = torch.tensor([[[1.0], [1.0], [1.0], [0.0]]])
    messages = rows * weight
    largest = max_of_others(messages)[0, :3]
    assert largest.tolist() == [[5.0, 3.0], [5.0, 3.0], [2.0, 3.0]]  # a tie leaves the maximum
    mean = mean_of_others(messages, weight)[0, :3]
    assert mean.tolist() == [[3.5, 2.0], [2.5, 2.0], [1.0, 3.0]]


def test_a_guest_alone_sees_no_others() -> None:
    messages, weight = torch.tensor([[[4.0], [0.0]]]), torch.tensor([[[1.0], [0.0]]])
    assert max_of_others(messages)[0, 0].item() == 0.0
    assert mean_of_others(messages, weight)[0, 0].item() == 0.0


def test_actions_follow_the_order_of_guests_and_values_ignore_it() -> None:
    policy, seen = make_policy(), observe(7)
    order = torch.tensor([3, 0, 4, 1, 2])
    mean = policy.get_distribution(seen).mode()
    moved = policy.get_distribution(permuted(seen, order)).mode()
    assert mean.std() > 0.1
    torch.testing.assert_close(moved, mean[:, order])
    torch.testing.assert_close(
        policy.predict_values(permuted(seen, order)), policy.predict_values(seen)
    )


@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30, -5.0])
def test_what_stands_in_absent_slots_changes_nothing(garbage: float) -> None:
    policy, seen = make_policy(), observe(7)
    absent = (seen["present"] == 0).unsqueeze(-1)
    rows = seen["guests"].reshape(7, SLOTS, -1)
    dirty = seen | {"guests": rows.masked_fill(absent, garbage).reshape(7, -1)}
    actions = torch.rand(7, SLOTS)
    clean_terms = policy.evaluate_actions(seen, actions)
    other = torch.where(seen["present"] == 0, torch.full_like(actions, 0.9), actions)
    dirty_terms = policy.evaluate_actions(dirty, other)
    for clean, found in zip(clean_terms, dirty_terms, strict=True):
        assert clean is not None and found is not None
        assert torch.equal(clean, found)
    log_prob = dirty_terms[1]
    log_prob.sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    gradients = [p.grad for p in policy.actor.parameters() if p.grad is not None]
    assert len(gradients) == len(list(policy.actor.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_empty_slots_add_nothing() -> None:
    wide, narrow = make_policy(slots=9), make_policy(slots=SLOTS)
    narrow.load_state_dict(wide.state_dict())
    seen = observe(7)
    padded = {
        "guests": torch.nn.functional.pad(seen["guests"], (0, 4 * GUEST_FEATURES), value=3.0),
        "host": seen["host"],
        "present": torch.nn.functional.pad(seen["present"], (0, 4)),
    }
    torch.testing.assert_close(
        wide.get_distribution(padded).mode()[:, :SLOTS], narrow.get_distribution(seen).mode()
    )
    torch.testing.assert_close(wide.predict_values(padded), narrow.predict_values(seen))
    assert torch.equal(
        wide.get_distribution(padded).entropy(), narrow.get_distribution(seen).entropy()
    )


def test_log_probability_has_its_closed_form() -> None:
    policy, seen = make_policy(log_std_init=math.log(0.5)), observe(7)
    distribution = policy.get_distribution(seen)
    mean, present = distribution.mode().detach().numpy(), seen["present"].numpy() == 1
    actions = mean + 0.25  # half a standard deviation away
    one = -0.125 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    found = distribution.log_prob(torch.from_numpy(actions)).detach().numpy()
    assert found == pytest.approx(one * present.sum(1), abs=1e-4)


def test_matches_the_stock_gaussian_when_all_are_present() -> None:
    policy, seen = make_policy(log_std_init=-0.7), observe(7)
    seen["present"] = torch.ones_like(seen["present"])
    ours = policy.get_distribution(seen)
    stock = DiagGaussianDistribution(SLOTS)
    stock.proba_distribution(ours.mode(), torch.full((SLOTS,), -0.7))
    actions = torch.rand(7, SLOTS)
    torch.testing.assert_close(ours.log_prob(actions), stock.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), stock.entropy())


def test_entropy_counts_present_guests_alone() -> None:
    policy, seen = make_policy(log_std_init=-1.5), observe(7)
    one = 0.5 + 0.5 * math.log(2 * math.pi) - 1.5
    counts = seen["present"].sum(1).numpy()
    entropy = policy.get_distribution(seen).entropy().detach().numpy()
    assert entropy == pytest.approx(one * counts, rel=1e-5)


def test_samples_have_the_stated_spread_and_absent_guests_act_zero() -> None:
    policy, seen = make_policy(log_std_init=math.log(0.3)), observe(7)
    distribution = policy.get_distribution(seen)
    draws = torch.stack([distribution.sample() for _ in range(4000)])
    present = seen["present"] == 1
    assert torch.equal(draws[:, ~present], torch.zeros_like(draws[:, ~present]))
    assert draws.std(dim=0)[present].detach().numpy() == pytest.approx(0.3, rel=0.06)
    centred = (draws.mean(dim=0) - distribution.mode())[present].detach()
    assert centred.abs().max() < 0.03


def test_forward_agrees_with_evaluate_actions() -> None:
    policy, seen = make_policy(), observe(7)
    actions, values, log_prob = policy(seen)
    again, log_prob_again, _ = policy.evaluate_actions(seen, actions)
    assert torch.equal(values, again)
    assert torch.equal(log_prob, log_prob_again)
    assert torch.equal(policy(seen, deterministic=True)[0], policy.get_distribution(seen).mode())
    assert torch.equal(policy.predict_values(seen), values)


def test_the_truth_reaches_the_critic_and_never_the_actor() -> None:
    policy, seen = make_policy(privileged=True), observe(7, privileged=True)
    other = seen | {"privileged": torch.zeros_like(seen["privileged"])}
    assert torch.equal(policy.get_distribution(seen).mode(), policy.get_distribution(other).mode())
    assert not torch.equal(policy.predict_values(seen), policy.predict_values(other))


def test_first_actions_are_the_start_action() -> None:
    torch.manual_seed(0)
    policy = GuestSetPolicy(
        observation_space(SLOTS), spaces.Box(-1, 1, (SLOTS,)), lambda _: 1e-3, start_action=0.5
    )
    seen = observe(7)
    mean = policy.get_distribution(seen).mode()[seen["present"] == 1]
    assert mean.detach().numpy() == pytest.approx(0.5, abs=0.03)


def test_predict_takes_one_observation_as_the_environment_gives_it() -> None:
    policy = make_policy()
    one = {key: part[0].numpy() for key, part in observe(2).items()}
    action, _ = policy.predict(one, deterministic=True)
    assert action.shape == (SLOTS,)
    assert np.abs(action).max() <= 1.0


def test_changing_the_units_of_the_critic_changes_no_prediction() -> None:
    policy, seen = make_policy(), observe(7)
    before = policy.predict_values(seen)
    policy.critic.rescale(mean=-120.0, spread=40.0)
    torch.testing.assert_close(policy.predict_values(seen), before, rtol=1e-4, atol=1e-4)
    policy.critic.rescale(mean=3.0, spread=0.0)  # a constant return must not divide by zero
    torch.testing.assert_close(policy.predict_values(seen), before, rtol=1e-3, atol=1e-3)


def test_spaces_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"present 5 slots.*actions \(4,\)"):
        GuestSetPolicy(observation_space(5), spaces.Box(-1, 1, (4,)), lambda _: 1e-3)
