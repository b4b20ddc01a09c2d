"""The cue extraction step."""
