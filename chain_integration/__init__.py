"""HPU nodes as resource providers on a chain. Not built yet; this package reserves the name."""
