"""The market's participants as programs: supplier, retriever, buyer, verifier."""
