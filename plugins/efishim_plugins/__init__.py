"""The built-in providers and platforms, loaded through the public entry-point group only."""
