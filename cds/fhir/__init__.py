"""Reads FHIR R4: resources, Bundles, dates. Knows nothing of myositis."""
