"""What `wardround data check` looks at."""
