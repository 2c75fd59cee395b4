"""What figures and tables share: rows sorted into conditions, the words for them, and tables as text."""
