"""The technician's station, the simulated venue and the rack on a bench."""
