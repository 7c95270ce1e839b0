"""Policies: shipped rules, learned ones and bounds; importing this loads none of them."""
