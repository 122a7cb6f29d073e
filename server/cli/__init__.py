"""`wardround server ...`, and the commands for a coordinator's runs."""
