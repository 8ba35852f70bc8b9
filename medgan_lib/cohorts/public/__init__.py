"""Public data sets: one file each, with how it is read and how its originals are prepared."""
