"""How images call firmware and how it returns: calling conventions, functions, status codes, the log."""
