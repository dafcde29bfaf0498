"""How good the mattes are on photographs with ground truth: data sets, metrics, recipes compared, reports, gates."""
