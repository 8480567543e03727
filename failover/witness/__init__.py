"""The witness on the rack: who holds the lease of a pair, with an epoch that only grows."""
