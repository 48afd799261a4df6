"""What may go wrong with features."""

from nextbest.errors import NextbestError


class StoreUnavailable(NextbestError):
    """The online store did not answer; serving falls back to the event log alone."""
