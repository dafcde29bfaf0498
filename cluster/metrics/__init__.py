"""What a job tells Prometheus: one table of metrics, the values of a moment, and the Ray shell that publishes them."""
