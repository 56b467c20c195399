"""Activation maximisation: objectives, parameterisations, the engine, and what a pattern proves."""
