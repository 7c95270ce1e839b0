"""Gymnasium environments; importing this package registers them.

`gymnasium.make("envs:Overcommit-v0")` imports it by itself.
"""

from gymnasium.envs.registration import register

ENVIRONMENTS = {  # id -> scenario that it has unless told otherwise
    "Overcommit-v0": "default",
    "Overcommit-Slides-v0": "slides",
    "Overcommit-Burst-v0": "burst",
}

for _name, _scenario in ENVIRONMENTS.items():
    register(
        id=_name,
        entry_point="envs.single:OvercommitEnv",
        vector_entry_point="envs.vector:OvercommitVectorEnv",
        kwargs={"scenario": _scenario},
    )
