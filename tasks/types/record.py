"""What every noun is made of: frozen records, exact rates, checked names."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints


def _to_fraction(value: object) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(str(value))


Rational = Annotated[Fraction, BeforeValidator(_to_fraction), PlainSerializer(str, return_type=str)]
EpisodeId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Precision = Literal["float32", "bf16", "int8"]  # of a network's products; see wav2lip_core.precision
BUNDLED_MODEL = "dubflow-lite"  # the weights that come with the package
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright film


class Record(BaseModel):
    """Frozen, closed, and the same after a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid")
