"""Results as one file to send on: HTML that needs neither a network nor a server, PDF, Markdown, LaTeX."""
