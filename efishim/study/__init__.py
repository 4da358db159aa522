"""The study: the claims of the thread of 2016, each turned into an experiment whose verdict is computed from runs."""
