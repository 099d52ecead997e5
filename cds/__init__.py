"""Decision support for idiopathic inflammatory myopathies over FHIR R4 and CDS Hooks."""
