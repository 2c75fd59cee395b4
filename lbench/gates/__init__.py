"""Gates: checks of kept rows with an exit code. They need no torch and no GPU."""
