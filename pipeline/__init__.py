"""What happens to an image: sources, stages, models, engines, quality, sinks. No Ray in here."""
