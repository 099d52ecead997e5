"""Runs the migrations in the transaction that ``cds.store.database`` has begun."""

from alembic import context

from cds.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot change a column in place: such a change copies the table.
    render_as_batch=True,
)
context.run_migrations()
