"""The built-in platforms and the builder that they share."""
