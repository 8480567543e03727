"""The simulated venue: a pitch, two cameras and a match whose truth is known at every instant."""
