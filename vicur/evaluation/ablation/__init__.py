"""What an ablation comes to: its arms over seeds, what was expected of them, and what held."""
