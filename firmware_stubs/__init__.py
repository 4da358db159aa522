"""Our own guest programs: sources, binaries and their hashes."""
