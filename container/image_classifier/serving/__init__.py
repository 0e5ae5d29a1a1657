"""Behind `serve`: the front door, MMS, and the handler that answers pictures with labels."""
