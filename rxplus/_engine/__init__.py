"""What runs on the loop thread, and how other threads hand over to it."""
