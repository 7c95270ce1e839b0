"""Published experiments on the simulator: measured beside published, pass or fail.

    python -m validation [V1 V3 ...] [--quick] [--json FILE] [--page FILE]

How to add one, V99:

1. `configs/scenarios/validation/v99_name.yaml`: the published set-up, hardware and preset, with
   marks in its timeline.  Nothing else: costs are those of `memsim.params`, whatever comes out.
2. `validation/v99_name.py` with one `EXPERIMENT = Experiment(...)` (`validation.experiment`):
   - `runs`: the variants of the set-up by name, each a scenario with overrides such as
     `guests.0.mechanisms.hinting=bitmap`, if need be a policy, and a period for memory samples;
   - `quantities`: each a function from the runs of one seed to a number, with what was published,
     the range that counts as agreement, and `kind="calibrated"` if the published number is the
     source of a cost in `memsim.params`, else "predicted";
   - `curves`: what was published as a curve, for the figure;
   - `quick`: overrides that make it short enough for CI, `None` to leave it out there;
   - `cost_s`: what its runs take on one core, all seeds, for the announcement.
   Functions of runs get a `Mapping[str, Outcome]`; see `scenarios.outcome` for counters between
   marks.  `tests/validation` finds the experiment by its file.
3. Look at what comes out.  A range that is missed gets a `missed` text: why, as far as known.
   A miss without one makes the command end with 1.
"""
