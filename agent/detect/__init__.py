"""People on the pitch: letterbox, engine, decoder, tiles, and ``touchline detect``."""
