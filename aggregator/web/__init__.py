"""The rack's page, its WebSocket, its JSON and its metrics."""
