"""The rules: one small file each, with its condition, its numbers in both profiles, and what to do about it."""
