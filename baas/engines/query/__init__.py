"""What is asked, as values, and the one compiler from tree + principal + rules to a statement."""
