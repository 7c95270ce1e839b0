"""Runs a policy on real hosts: reads, decides, guards, applies, records, explains."""
