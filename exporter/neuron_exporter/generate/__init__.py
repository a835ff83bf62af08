"""Writers of files that are committed or handed to others; each has one source."""
