"""All that touches rows: writes go through one thread, reads carry the asker's scope."""
