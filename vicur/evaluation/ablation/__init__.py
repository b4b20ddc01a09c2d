"""Results of an ablation: its arms over several seeds, the contrasts between them, and the expectations that held."""
