"""The pages of the server's own host; today the API documentation."""
