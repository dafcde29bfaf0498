"""What was done, what is due, what failed: outcome files, the failure log, resume, packing and the run lease."""
