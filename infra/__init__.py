"""The outside world, each thing behind one small module: settings, errors, storage, cache, ffmpeg, video."""
