"""Output formats: text, JSON, Markdown, HTML and JUnit."""
