"""Many cells: the driver leases shards to them, one cell a node; keys go out, outcomes come back."""
