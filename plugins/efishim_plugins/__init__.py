"""The providers that come with efishim, loaded only through the public entry-point group."""
