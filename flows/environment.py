"""Sets Prefect's environment where the user set nothing. Flow modules import this before Prefect, which reads it once."""

from infra.settings import apply_environment

apply_environment()
