"""The database: one door, fragments, errors, migrations, notifications, and a private PostgreSQL."""
