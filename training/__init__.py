"""How weights are made."""
