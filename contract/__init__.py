"""What simulation, policies and real hosts share: telemetry, decisions, guard, and the one loop.

Depends on numpy alone, sees no clock, no socket and no backend.  Axis letters: H hosts, G guest
slots.  Bytes and counts are int64 and unknown is -1; seconds and rates are float64 and unknown is
NaN; unknown is never zero.
"""
