"""Ray: cells, pools, queues of object references, sizing, progress. No pixels in here."""
