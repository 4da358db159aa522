"""The study: claims of the 2016 thread, each an experiment with a verdict computed from runs."""
