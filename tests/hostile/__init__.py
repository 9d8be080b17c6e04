"""Hostile and careless input, thrown at the commands: what the tests and `scripts/fuzz.py` share."""
