"""Records of runs that were made before: what decides a run, where its record is kept, and when it is used again (ADR 23)."""
