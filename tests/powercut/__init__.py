"""Pulling the plug: real ext4 under the node's real store, and every state that a power cut could have left of it."""
