"""Collections and fields as values, and the SQL between two of them."""
