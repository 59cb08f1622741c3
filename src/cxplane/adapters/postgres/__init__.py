"""The store and the work queue on PostgreSQL, and a private PostgreSQL where none is given."""
