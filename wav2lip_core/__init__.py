"""The models as a library: networks, audio features, face geometry, scoring. Knows torch and numpy, nothing of dubflow's flows or stores."""
