"""The experiments, guest profiles and training runs that ship as YAML, and how YAML is read."""
