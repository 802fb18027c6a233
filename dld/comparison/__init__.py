"""Comparisons: many trainings described as data, and the processes that make them."""
