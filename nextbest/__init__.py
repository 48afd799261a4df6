"""nextbest: what every contact will buy next, whether they are leaving, and how to reach them."""
