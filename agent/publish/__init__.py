"""From records to the broker: window, spool on disk, MQTT over TLS (MSG-1, MSG-2)."""
