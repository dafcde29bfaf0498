"""From a photograph on the device to the filtered rows of its PNG, with nothing of its size coming back in between."""
