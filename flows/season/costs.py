"""What machines cost: a machine's hour, a GPU's hour, in whatever money the settings name."""

from dataclasses import dataclass

from infra.settings import get_settings
from tasks.types import SeasonRequest

GPU_STAGES = ("sync", "judge", "retry")  # those that take the GPU slot


@dataclass(frozen=True)
class Prices:
    """Money per hour; None where nobody said."""

    machine_per_hour: float | None
    gpu_per_hour: float | None
    currency: str

    @staticmethod
    def of(request: SeasonRequest) -> "Prices":
        """As the season says, else as the settings do."""
        settings = get_settings()
        machine = settings.machine_rate_per_hour if request.machine_rate_per_hour is None else request.machine_rate_per_hour
        gpu = settings.gpu_rate_per_hour if request.gpu_rate_per_hour is None else request.gpu_rate_per_hour
        return Prices(machine, gpu, settings.currency if machine is not None or gpu is not None else "")

    def cost(self, machine_seconds: float, gpu_seconds: float = 0.0) -> float | None:
        """None where no rate is known."""
        if self.machine_per_hour is None and self.gpu_per_hour is None:
            return None
        return (machine_seconds * (self.machine_per_hour or 0.0) + gpu_seconds * (self.gpu_per_hour or 0.0)) / 3600
