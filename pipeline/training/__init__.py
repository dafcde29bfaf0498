"""Training of the matting network: synthetic composites, the network, its losses, its export. Needs torch."""
