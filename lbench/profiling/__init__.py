"""Where the time of one call goes: what tools saw of a case, kept raw in a folder and read again at will."""
