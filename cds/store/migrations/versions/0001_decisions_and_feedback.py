"""Tables for decisions, their cards and rule sets, feedback, and used tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rulesets",
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("kept_at", sa.DateTime, nullable=False),
        sa.Column("files", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("service", sa.String(200), nullable=False),
        sa.Column("hook", sa.String(40), nullable=False),
        sa.Column("hook_instance", sa.String(36), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column(
            "rules_version", sa.String(64), sa.ForeignKey("rulesets.version"), nullable=False
        ),
        sa.Column("software", sa.String(40), nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.Column("applies", sa.Boolean, nullable=False),
        sa.Column("microseconds", sa.Integer, nullable=False),
        sa.Column("overrides_known", sa.Boolean, nullable=False),
        sa.Column("inputs", sa.LargeBinary, nullable=False),
        sa.Column("facts", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
    op.create_index("decisions_by_time", "decisions", ["at"])
    op.create_index("decisions_by_patient", "decisions", ["patient", "at"])
    op.create_table(
        "cards",
        sa.Column(
            "decision",
            sa.String(36),
            sa.ForeignKey("decisions.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("rule", sa.String(200), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("uuid", sa.String(36), unique=True),
        sa.Column("rule_version", sa.String(40), nullable=False),
        sa.Column("indicator", sa.String(10), nullable=False),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("silenced_by", sa.String(64)),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    op.create_index("cards_by_patient", "cards", ["patient", "rule"])
    op.create_index("cards_by_time", "cards", ["at"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("received_at", sa.DateTime, nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("service", sa.String(200), nullable=False),
        sa.Column("card", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(10), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("reason_system", sa.Text),
        sa.Column("reason_display", sa.Text),
        sa.Column("comment", sa.Text),
        sa.Column("suggestions", sa.Text, nullable=False),
    )
    op.create_index("feedback_by_card", "feedback", ["card"])
    op.create_index("feedback_by_time", "feedback", ["received_at"])
    op.create_table(
        "used_tokens",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("until", sa.DateTime, nullable=False),
    )
    op.create_index("used_tokens_by_end", "used_tokens", ["until"])


def downgrade() -> None:
    """Drop the tables, with all that they hold."""
    for table in ("used_tokens", "feedback", "cards", "decisions", "rulesets"):
        op.drop_table(table)
