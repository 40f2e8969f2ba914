"""Sets Prefect's environment where the user set nothing, and how memory is kept. Flow modules import this before Prefect, which reads it once."""

from infra.process_memory import keep_freed_memory
from infra.settings import apply_environment

apply_environment()
keep_freed_memory()
