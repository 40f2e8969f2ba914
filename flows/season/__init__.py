"""The parts of dubbing a season: its table read and checked, episodes handed out, watched, and what it all costs."""
