"""Records as text, JSON, HTML and JUnit."""
