"""Benchmarks: one command each, figures as text and as JSON."""
