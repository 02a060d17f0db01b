"""Damaged and forged files, and hardships of the system, for robustness.py."""
