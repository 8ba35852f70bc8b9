"""Cohorts that are simulated, or made of digits and photographs that come with a library: their truth is known."""
