"""Speech recognition of recordings."""
