"""The exceptions a caller may want to catch.

NextbestError
 ├── BadInput          what was handed in cannot be used; the message says what would work
 ├── NotReady          a step that must come first has not been run; the message names the command
 │    └── ThinOverlap  the log says too little about a policy (training.off_policy)
 └── ArtifactError     a stored model is missing, damaged or of another version
"""


class NextbestError(Exception):
    """Anything nextbest raises on purpose."""


class BadInput(NextbestError):
    """What was handed in cannot be used."""


class NotReady(NextbestError):
    """A step that must come first has not been run."""


class ArtifactError(NextbestError):
    """A stored model is missing, damaged or of another version."""
