"""Deviations of public code from the equations: re-created, measured for a page, and rejected by the tests."""
