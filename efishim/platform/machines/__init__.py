"""The machines that come with efishim, and the builder that they share."""
