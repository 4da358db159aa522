"""How images call firmware and how firmware answers: calling conventions, functions, status codes, the log."""
