"""What can go wrong, as a tree:

DubflowError
├── InputError             your input: says what is wrong, where, and what to do; exit code 2; never retried
└── OurTroubleError        our side; exit code 1
    ├── TransientError     may pass by itself (store busy, network, disk full): retried
    └── CorruptArtifactError   stored bytes differ from their digest: quarantined and made again
"""


class DubflowError(Exception):
    """Base of every error that dubflow raises on purpose."""


class InputError(DubflowError):
    """The user's input cannot be used as it is. The message says what, where, and what to do."""


class OurTroubleError(DubflowError):
    """Something on our side failed."""


class TransientError(OurTroubleError):
    """May pass by itself; worth another try."""


class CorruptArtifactError(OurTroubleError):
    """Stored bytes differ from their digest."""
