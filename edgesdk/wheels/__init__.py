"""Which wheels make a runtime on a board, and getting them here; nothing talks to a device."""
