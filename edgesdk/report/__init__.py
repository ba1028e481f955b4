"""The report made readable: terminal, one HTML page, and the published schema of its JSON."""
