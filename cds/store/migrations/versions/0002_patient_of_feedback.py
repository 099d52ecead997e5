"""The patient of feedback, so that what was told of one is found without looking at each card."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the patient, of the cards that are known."""
    op.add_column("feedback", sa.Column("patient", sa.String(64)))
    op.create_index("feedback_by_patient", "feedback", ["patient", "received_at"])
    op.execute(
        "UPDATE feedback SET patient = (SELECT cards.patient FROM cards"
        " WHERE cards.uuid = feedback.card AND cards.client = feedback.client)"
    )


def downgrade() -> None:
    """Drop the patient, which the cards tell as well."""
    op.drop_index("feedback_by_patient", "feedback")
    op.drop_column("feedback", "patient")
