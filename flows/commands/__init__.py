"""The `dub` commands: words in, a flow or a library called, words and an exit code out."""
