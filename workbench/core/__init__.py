"""The method: pure functions on arrays and frames, no I/O, no clock."""
