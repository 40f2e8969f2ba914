"""`make demo`: a film, a dub and voices made from what installed packages hold."""
