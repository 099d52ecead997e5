"""Turns FHIR resources into clinical facts, by the vocabulary of ``rules/vocabulary/``."""
