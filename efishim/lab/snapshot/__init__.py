"""What guest memory and the processor hold at one moment, decoded."""
