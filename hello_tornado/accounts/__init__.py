"""Users with passwords: their names, their accounts, and limits on guesses."""
