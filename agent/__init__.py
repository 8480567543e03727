"""The resident agent: camera, ring, detect, track, publish."""
