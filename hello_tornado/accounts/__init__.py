"""People with passwords: their names, their guesses, and what is counted."""
