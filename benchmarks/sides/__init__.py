"""The libraries that are compared: how each is set up, the same way in every benchmark."""
