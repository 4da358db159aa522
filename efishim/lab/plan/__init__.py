"""From words and routes to a plan: everything that decides a run, as one value."""
