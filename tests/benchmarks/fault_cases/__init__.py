"""Runs with a planted fault, and healthy ones, for the fault benchmark."""
