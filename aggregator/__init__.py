"""The rack side: receive, de-duplicate, fuse, store, show."""
