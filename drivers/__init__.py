"""The world outside, one file per library, each with a real fake that ships."""
