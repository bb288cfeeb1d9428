"""Content by its hash: identifiers, files on disk, encryption for one order."""
