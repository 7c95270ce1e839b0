"""Training of the learned policy: network, PPO, cloning, checkpoints and export.

Everything here may import torch and stable-baselines3; what runs on a host does not
(`agents.onnx_policy`).
"""
