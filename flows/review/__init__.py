"""What reviewers do to an episode: decisions served, a run that waits for them, shots made again after a promotion."""
