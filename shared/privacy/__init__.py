"""What protects patients: accounting, secure aggregation, filters of what is sent."""
