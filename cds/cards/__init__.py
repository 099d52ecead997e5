"""Turns fired rules into CDS Hooks cards."""
