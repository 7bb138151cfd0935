"""The query engine: what is asked as values (`tree`), and one compiler that makes a statement of it with the rules inside."""
