"""The Open Bandit Pipeline (obp) as a peer, in an environment of its own: see __main__.py."""
