"""The CDS Hooks HTTP interface: discovery and services."""
