"""What is kept: the decisions that were given, the feedback on them, the tokens that were used."""
