"""The parts of dubbing one film: the request checked, the film studied, takes made and tried again, everything published."""
