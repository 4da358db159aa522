"""The protocols on the shim's handles, one file per protocol."""
