"""The steps of a dub: plain functions, records in, records out."""
