"""What was told of a patient last, or of a card without its patient, found without a search.

There may be very much feedback on one card: an EHR may send it again with another time.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index of the latest, and widen the one by card."""
    named = sa.text("patient IS NOT NULL")
    op.create_index(
        "feedback_told",
        "feedback",
        ["patient", "client", "at", "received_at", "outcome"],
        sqlite_where=named,
        postgresql_where=named,
    )
    op.drop_index("feedback_by_card", "feedback")
    op.create_index("feedback_by_card", "feedback", ["card", "patient"])


def downgrade() -> None:
    """Make the indexes as they were."""
    op.drop_index("feedback_by_card", "feedback")
    op.create_index("feedback_by_card", "feedback", ["card"])
    op.drop_index("feedback_told", "feedback")
