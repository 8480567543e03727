"""The offline bundle: one file with everything that a node without internet needs, and its installer."""
