"""Protection of what is on the mast and on the disk: shock, camera relay, /data, log flush, trace ring."""
